"""The data that training and evaluation use: samples, and datasets of samples."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.dataset.report import Report, few
from model.errors import DatasetError


class Source(Protocol):
    """Where the silhouettes of one sample come from."""

    def read(self) -> NDArray[np.uint8]:
        """Return the aligned walk, uint8 `[T, H, W]`."""
        ...


@dataclass(frozen=True)
class Sample:
    """One recorded walk of `length` frames."""

    subject: str
    condition: str
    view: str
    length: int
    source: Source = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The sample's path in the CASIA-B layout: `001/nm-01/090`."""
        return f"{self.subject}/{self.condition}/{self.view}"

    def silhouettes(self) -> NDArray[np.uint8]:
        """Read the aligned walk, uint8 `[T, H, W]`.

        Raises:
            DatasetError: it cannot be read.

        """
        return self.source.read()


@dataclass(frozen=True)
class Dataset:
    """Samples of one size and one preprocessing, with the report on their source."""

    samples: tuple[Sample, ...]
    size: tuple[int, int] = (64, 44)
    report: Report = field(default_factory=Report)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects' ids, sorted."""
        return tuple(sorted({sample.subject for sample in self.samples}))

    def of(self, subjects: Collection[str]) -> "Dataset":
        """Return the samples of these subjects; the report stays that of the whole dataset.

        Raises:
            DatasetError: there is no sample of any of them.

        """
        wanted = frozenset(subjects)
        kept = tuple(sample for sample in self.samples if sample.subject in wanted)
        if not kept:
            raise DatasetError(
                f"expected samples of the subjects {few(wanted)}, got a dataset of "
                f"{few(self.subjects)}"
            )
        return replace(self, samples=kept)


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """Merge datasets of different subjects, and their reports.

    Raises:
        DatasetError: none was given, their sizes differ, or a subject is in several.

    """
    sizes = {dataset.size for dataset in datasets}
    if len(sizes) != 1:
        raise DatasetError(f"expected datasets of one size, got {sorted(sizes)}")
    subjects = Counter(subject for dataset in datasets for subject in dataset.subjects)
    if twice := [subject for subject, times in subjects.items() if times > 1]:
        raise DatasetError(f"expected each subject in one dataset, got {few(twice)} in several")
    return Dataset(
        tuple(sample for dataset in datasets for sample in dataset.samples),
        sizes.pop(),
        Report.of([dataset.report for dataset in datasets]),
    )
