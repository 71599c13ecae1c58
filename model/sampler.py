"""Draws training batches of P subjects x K samples, from the seed and the iteration alone.

Because a batch does not depend on the batches before it, a resumed training sees exactly the
batches it would have seen, and the next batch can be prepared in a background thread.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.augment import AugmentConfig, augmented, frame_positions
from model.bounds import check_at_least
from model.dataset import Dataset, Sample
from model.distributed import Group
from model.errors import DatasetError


@dataclass(frozen=True)
class SamplerConfig:
    """Shape of a batch: `subjects` (P) x `samples` (K) clips of `frames` (T)."""

    subjects: int = 8
    samples: int = 8
    frames: int = 30
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Reject batch shapes that contain no triplet."""
        check_at_least(2, "sampler", self, "subjects", "samples")
        check_at_least(1, "sampler", self, "frames")


@dataclass(frozen=True)
class Batch:
    """Clips uint8 `[P*K, T, H, W]`, their lengths int64 `[P*K]` and labels int64 `[P*K]`.

    In distributed training each process has only its own share of the rows.
    """

    silhouettes: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]


class Sampler:
    """Draws batches from a dataset; a subject's label is its index in `dataset.subjects`."""

    def __init__(
        self, dataset: Dataset, config: SamplerConfig, seed: int, group: Group | None = None
    ) -> None:
        self._config = config
        self._rows = (group or Group()).rows(config.subjects * config.samples)
        self._seed = seed
        self._of_label: list[list[Sample]] = [[] for _ in dataset.subjects]
        labels = {subject: label for label, subject in enumerate(dataset.subjects)}
        for sample in dataset.samples:
            self._of_label[labels[sample.subject]].append(sample)
        if len(self._of_label) < config.subjects:
            raise DatasetError(
                f"expected at least {config.subjects} subjects for a batch, "
                f"got {len(self._of_label)}"
            )

    def batch(self, iteration: int) -> Batch:
        """Draw the batch of one iteration, reading only this process's rows.

        A subject with fewer than K samples contributes some of them twice, as different clips.
        """
        generator = np.random.default_rng([self._seed, iteration])
        P, K = self._config.subjects, self._config.samples
        labels = generator.choice(len(self._of_label), P, replace=False)
        samples = [s for label in labels for s in _drawn(self._of_label[label], K, generator)]
        # One generator per clip, so a row is the same whichever process draws it.
        own = generator.spawn(P * K)
        clips = np.stack([self._clip(samples[row], own[row]) for row in self._rows])
        lengths = np.full(len(clips), self._config.frames, np.int64)
        rows = slice(self._rows.start, self._rows.stop)
        return Batch(clips, lengths, np.repeat(labels.astype(np.int64), K)[rows])

    def _clip(self, sample: Sample, generator: np.random.Generator) -> NDArray[np.uint8]:
        walk = sample.silhouettes()
        config = self._config
        positions = frame_positions(len(walk), config.frames, config.augment, generator)
        return augmented(walk[positions], config.augment, generator)


def prefetched(draw: Callable[[int], Batch], iterations: range) -> Iterator[Batch]:
    """Yield `draw(i)` for each iteration, while a thread draws the next one."""
    with ThreadPoolExecutor(1, thread_name_prefix="sampler") as thread:
        ahead = thread.submit(draw, iterations[0]) if iterations else None
        for iteration in iterations:
            if ahead is None:
                break
            batch = ahead.result()
            following = iteration + iterations.step
            ahead = thread.submit(draw, following) if following in iterations else None
            yield batch


def _drawn(samples: list[Sample], K: int, generator: np.random.Generator) -> list[Sample]:
    places = generator.choice(len(samples), K, replace=len(samples) < K)
    return [samples[place] for place in places]
