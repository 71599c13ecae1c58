"""Splits subjects into training and test: by a published partition, a count, or a list of ids."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from model.dataset.raw import in_order
from model.dataset.report import few
from model.dataset.samples import Dataset
from model.errors import DatasetError


@dataclass(frozen=True)
class Partition:
    """A split by subject; `chosen` selects the training ids from a dataset's sorted ids."""

    name: str
    chosen: Callable[[tuple[str, ...]], Collection[str]]
    listed: tuple[str, ...] = ()
    """Ids that the partition lists explicitly; missing ones are reported."""

    def train(self, dataset: Dataset) -> Dataset:
        """Return the training subjects' part of a dataset.

        Raises:
            DatasetError: it is empty, or the ids do not fit the partition.

        """
        return self._half(dataset, set(self.chosen(dataset.subjects)), "train")

    def test(self, dataset: Dataset) -> Dataset:
        """Return the test subjects' part of a dataset.

        Raises:
            DatasetError: it is empty, or the ids do not fit the partition.

        """
        return self._half(dataset, {*dataset.subjects} - {*self.chosen(dataset.subjects)}, "test")

    def _half(self, dataset: Dataset, subjects: Collection[str], purpose: str) -> Dataset:
        kept = [subject for subject in dataset.subjects if subject in subjects]
        if not kept:
            raise DatasetError(
                f"expected subjects that {purpose} by the partition {self.name}, got none "
                f"among {few(dataset.subjects)}"
            )
        known = {*dataset.subjects, *dataset.report.missing_subjects}
        absent = tuple(subject for subject in self.listed if subject not in known)
        missing = (*dataset.report.missing_subjects, *absent)
        return replace(dataset.of(kept), report=replace(dataset.report, missing_subjects=missing))


def named_partition(name: str) -> Partition:
    """Return one of `PARTITIONS`.

    Raises:
        DatasetError: there is none of that name.

    """
    if name not in PARTITIONS:
        raise DatasetError(f"expected a partition of {', '.join(PARTITIONS)}, got {name!r}")
    return PARTITIONS[name]


def first_subjects(count: int) -> Partition:
    """Train on the first `count` subjects by id, whatever the ids are; 9 comes before 10."""
    name = f"of the first {count} subjects"
    return Partition(name, lambda ids: sorted(ids, key=in_order)[:count])


def listed_subjects(ids: Collection[str]) -> Partition:
    """Train on the listed subjects."""
    return Partition(f"by a list of {len(ids)} ids", lambda _: frozenset(ids), tuple(ids))


def _numbered(name: str, trains: Callable[[int], bool]) -> Partition:
    def chosen(ids: tuple[str, ...]) -> Collection[str]:
        words = [subject for subject in ids if not subject.isdecimal()]
        if words:
            raise DatasetError(
                f"expected ids that are numbers for the partition {name}, got {few(words)}"
            )
        return [subject for subject in ids if trains(int(subject))]

    return Partition(name, chosen)


PARTITIONS: dict[str, Partition] = {
    "st": _numbered("st", lambda number: number <= 24),
    "mt": _numbered("mt", lambda number: number <= 62),
    "lt": _numbered("lt", lambda number: number <= 74),
    "oumvlp": _numbered("oumvlp", lambda number: number % 2 == 1 and number < 10307),
}
"""`st`, `mt` and `lt` are CASIA-B's small, medium and large-sample training (Wu et al., TPAMI
2017): ids up to 24, 62 and 74 of 124 train. A missing id is not replaced by the next one. `oumvlp`
is OU-MVLP's (Takemura et al., 2018): 5,153 odd ids train, and 5,154 test, the even ones and the
last, 10307, which is odd.
"""
