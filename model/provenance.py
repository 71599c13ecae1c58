"""Records whom a model was trained on, and checks whether the same people are used to test it.

Ids of people never go into a model file, only their number and the partition that selected them.
Synthetic walkers are not people, so their numbers do go in.
"""

from pathlib import Path

from model.caches import BENCHMARK, chosen_partition
from model.checkpoint import Checkpoint
from model.embed import Embedder
from model.errors import DatasetError
from model.facts import TrainedOn


def trained_on(checkpoint: Checkpoint) -> TrainedOn:
    """Return whom a checkpoint was trained on."""
    config = checkpoint.config
    partition = chosen_partition(config.data)
    numbers = [group.numbers for group in config.data.walkers or ()]
    return TrainedOn(
        subjects=len(checkpoint.subjects),
        walkers=tuple((span[0], span[-1]) for span in numbers),
        layout=config.data.layout,
        partition=None if partition is None else partition.name,
        start=None if config.start is None else Path(config.start).name,
    )


def check_benchmark(embedder: Embedder) -> None:
    """Refuse to evaluate a model on benchmark walkers that it was trained on.

    Raises:
        DatasetError: its file says that it was trained on some of them.

    """
    test = BENCHMARK.numbers
    for first, last in embedder.training.walkers if embedder.training else ():
        if first <= test[-1] and last >= test[0]:
            raise DatasetError(
                f"expected a model trained on other walkers than the {test[0]} to {test[-1]} that "
                f"test it, got {embedder.name}, trained on {first} to {last}"
            )


def doubts(embedder: Embedder, subjects: tuple[str, ...], partition: str | None) -> list[str]:
    """Return warnings that some subjects of a folder may have trained the model they test.

    `partition` is the one that selected the subjects, if any.
    """
    if embedder.trained_on:
        seen = len({*embedder.trained_on}.intersection(subjects))
        return (
            [
                f"{seen} of the {len(subjects)} subjects have the id of one that trained "
                f"{embedder.name}: if they are the same people, its figures are too good."
            ]
            if seen
            else []
        )
    record = embedder.training
    if record is None or record.walkers or (partition and partition == record.partition):
        return []
    return [
        f"{embedder.name} was trained on {record}; its file does not say who they are: if some of "
        "them are tested here, its figures are too good."
    ]
