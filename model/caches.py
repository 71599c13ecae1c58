"""Packed caches of synthetic walkers: made once, found again by what they were made from."""

import hashlib
import json
import os
from pathlib import Path

from tqdm import tqdm

from model.config import DataConfig, WalkersConfig, plain
from model.dataset import Dataset, open_dataset, pack, partition
from model.errors import ConfigError
from model.walkers import write_packed

BENCHMARK = WalkersConfig(first=9001, subjects=50)
"""The walkers that models are judged by; no training and no threshold ever sees them."""

VALIDATION = WalkersConfig(
    first=8001,
    subjects=120,
    conditions=("nm-01", "nm-02", "nm-05", "bg-01", "cl-01"),
    views=(0, 36, 72, 90, 126, 180),
)
"""The walkers that the decision threshold is measured on."""


def walkers_dataset(config: WalkersConfig, folder: Path, label: str) -> Dataset:
    """Open the cache of these walkers under `folder`, and generate it first when it is new."""
    made_from = json.dumps(plain(config), sort_keys=True).encode()
    path = folder / f"{label}-{hashlib.sha256(made_from).hexdigest()[:12]}"
    if not path.exists():
        print(f"generating {config.subjects} walkers into {path}", flush=True)
        subjects = range(config.first, config.first + config.subjects)
        with tqdm(subjects, unit="subject") as bar:

            def advance(subject: int) -> None:
                bar.update()

            write_packed(
                path,
                subjects,
                config.settings,
                conditions=config.conditions,
                views=config.views,
                workers=os.cpu_count() or 1,
                progress=advance,
            )
    return open_dataset(path)


def training_dataset(config: DataConfig, size: tuple[int, int], runs: Path) -> Dataset:
    """Open what a configuration trains on; walkers and raw trees become packed caches first.

    Raises:
        DatasetError: the folder is no dataset.
        ConfigError: the walkers include some that models are judged by.

    """
    if config.walkers is not None:
        _check_unseen(config.walkers)
        return walkers_dataset(config.walkers, runs / "cache", "walkers")
    dataset = packed(Path(config.path or ""), size, runs)
    return partition(dataset, config.train_subjects)[0] if config.train_subjects else dataset


def packed(path: Path, size: tuple[int, int], runs: Path) -> Dataset:
    """Open a dataset folder, a raw tree through a packed cache of it."""
    dataset = open_dataset(path, size)
    if (path / "index.json").is_file():
        return dataset
    name = hashlib.sha256(f"{path.resolve()} {size}".encode()).hexdigest()[:12]
    cache = runs / "cache" / f"{path.name}-{name}"
    if not cache.exists():
        print(f"packing {len(dataset.samples)} samples into {cache}", flush=True)
        pack(dataset, cache)
    return open_dataset(cache)


def _check_unseen(walkers: WalkersConfig) -> None:
    """Refuse to train on benchmark or validation walkers: every later figure would be a lie."""
    last = walkers.first + walkers.subjects - 1
    for kept in (BENCHMARK, VALIDATION):
        kept_last = kept.first + kept.subjects - 1
        if walkers.first <= kept_last and kept.first <= last:
            raise ConfigError(
                f"data.walkers: expected subjects outside {kept.first} to {kept_last}, which "
                f"models are judged by, got {walkers.first} to {last}"
            )
