"""Packed caches of walkers and raw datasets, made once and keyed by what they are made from."""

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.bars import progress_bar
from model.config import DataConfig, WalkersConfig, plain
from model.cpus import available_cpus
from model.dataset import (
    Dataset,
    Partition,
    first_subjects,
    is_packed,
    joined,
    layout_of,
    listed_subjects,
    named_partition,
    open_packed,
    pack,
)
from model.errors import ConfigError, DatasetError
from model.silhouettes import PREPROCESSING_ID, SIZES
from model.walkers import write_packed

BENCHMARK = WalkersConfig(first=9001, subjects=50)
"""The walkers that models are evaluated on; never used for training or for a threshold."""

VALIDATION = WalkersConfig(
    first=8001,
    subjects=120,
    conditions=("nm-01", "nm-02", "nm-05", "bg-01", "cl-01"),
    views=(0, 36, 72, 90, 126, 180),
)
"""The walkers on which the decision threshold is measured."""


def walkers_dataset(
    config: WalkersConfig, folder: Path, label: str, size: tuple[int, int] = SIZES[0]
) -> Dataset:
    """Open the cache of these walkers under `folder`; generate it first if it does not exist.

    Raises:
        DatasetError: walks cannot be aligned to this size.

    """
    path = walkers_cache(config, folder, label, size)
    with _one_maker(path) as made:
        if not made:
            _generate(config, path, size)
    return _opened(path)


def walkers_cache(
    config: WalkersConfig, folder: Path, label: str, size: tuple[int, int] = SIZES[0]
) -> Path:
    """Return the path of these walkers' cache; its name covers everything they are made from."""
    made_from = f"{json.dumps(plain(config), sort_keys=True)} {PREPROCESSING_ID}"
    if size != SIZES[0]:
        made_from += f" {size}"
    return folder / f"{label}-{_digest(made_from)}"


def training_dataset(config: DataConfig, size: tuple[int, int], runs: Path) -> Dataset:
    """Open a configuration's training data; walkers and raw datasets become packed caches first.

    Raises:
        DatasetError: the folder is not a dataset, or its subjects do not fit the partition.
        ConfigError: the walkers include some that models are evaluated on.

    """
    if config.walkers is not None:
        for group in config.walkers:
            _check_unseen(group)
        cache = runs / "cache"
        return joined([walkers_dataset(g, cache, "walkers", size) for g in config.walkers])
    dataset = packed(Path(config.path or ""), size, runs, config.layout)
    split = chosen_partition(config)
    return split.train(dataset) if split else dataset


def packed(path: Path, size: tuple[int, int], runs: Path, layout: str | None = None) -> Dataset:
    """Open a packed cache, or the cache of a raw dataset, made under `runs` if it does not exist.

    Raises:
        DatasetError: the folder is not a dataset, or is a packed cache of another size.

    """
    if is_packed(path):
        return _of_size(open_packed(path), size, path)
    kind = layout_of(path, layout)
    scan = kind.scan(path)
    stamps = [(portion.name, portion.stamp()) for portion in scan.portions]
    key = _digest(f"{path.resolve()} {kind.name} {size} {PREPROCESSING_ID} {stamps}")
    cache = runs / "cache" / f"{path.name}-{key}"
    with _one_maker(cache) as made:
        if not made:
            print(f"packing {path} ({kind.name}) into {cache}", flush=True)
            workers = available_cpus()
            with progress_bar(len(scan.portions), "portion") as advance:
                pack(scan, cache, size, layout=kind, workers=workers, progress=advance)
    return _opened(cache)


def _opened(cache: Path) -> Dataset:
    try:
        return open_packed(cache)
    except DatasetError as error:
        raise DatasetError(f"{error}; without this folder it is made again") from error


def _of_size(dataset: Dataset, size: tuple[int, int], path: Path) -> Dataset:
    if dataset.size != size:
        raise DatasetError(
            f"expected silhouettes of {size} in {path}, got a packed cache of {dataset.size}; "
            f"pack the dataset again with --size {size[0]}x{size[1]}"
        )
    return dataset


def _generate(config: WalkersConfig, path: Path, size: tuple[int, int]) -> None:
    print(f"generating {config.subjects} walkers into {path}", flush=True)
    with progress_bar(config.subjects, "subject") as advance:
        write_packed(
            path,
            config.numbers,
            config.settings,
            conditions=config.conditions,
            views=config.views,
            size=size,
            workers=available_cpus(),
            progress=advance,
        )


def chosen_partition(config: DataConfig) -> Partition | None:
    """Return how a folder's subjects are split into training and test; None if all train."""
    if config.partition is not None:
        return named_partition(config.partition)
    if config.train_subjects is not None:
        return first_subjects(config.train_subjects)
    return listed_subjects(config.train_ids) if config.train_ids else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def _one_maker(path: Path) -> Iterator[bool]:
    """Hold the lock on making a cache, and yield whether the cache already exists.

    Several trainings on one folder, or the ranks of one training, start at the same moment.
    """
    if path.exists():
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path.exists()


def _check_unseen(walkers: WalkersConfig) -> None:
    """Refuse to train on benchmark or validation walkers, which would falsify all later figures."""
    for kept in (BENCHMARK, VALIDATION):
        if set(walkers.numbers).intersection(kept.numbers):
            raise ConfigError(
                f"data.walkers: expected subjects outside {_span(kept)}, which "
                f"models are judged by, got {_span(walkers)}"
            )


def _span(walkers: WalkersConfig) -> str:
    return f"{walkers.numbers[0]} to {walkers.numbers[-1]}"
