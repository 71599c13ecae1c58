"""The smallest training there is, for every test that needs one."""

import numpy as np

from model.config import DataConfig, OptimiserConfig, TrainConfig
from model.dataset import Dataset, Sample
from model.network import NetworkConfig
from model.sampler import SamplerConfig

TINY = TrainConfig(
    name="tiny",
    data=DataConfig(path="unused"),
    iterations=6,
    checkpoint_every=2,
    average=0.9,
    network=NetworkConfig(channels=(2, 4, 4), dimensions=4),
    sampler=SamplerConfig(subjects=2, samples=2, frames=3),
    optimiser=OptimiserConfig(learning_rate=1e-3, schedule="cosine", warm_up=2, clip_norm=1.0),
)


class Noise:
    """A source of one random walk."""

    def __init__(self, seed: int) -> None:
        self._walk = np.random.default_rng(seed).integers(0, 256, (5, 64, 44)).astype(np.uint8)

    def read(self) -> np.ndarray:
        return self._walk


def noise_dataset(
    subjects: int = 3,
    conditions: tuple[str, ...] = ("nm-00", "nm-01"),
    views: tuple[str, ...] = ("090",),
) -> Dataset:
    """Random walks of some subjects."""
    return Dataset(
        tuple(
            Sample(f"{s:03}", condition, view, 5, Noise(100 * s + 10 * k + v))
            for s in range(subjects)
            for k, condition in enumerate(conditions)
            for v, view in enumerate(views)
        )
    )
