"""Embeds the samples of a dataset, with an ONNX file, a checkpoint, or the GEI baseline."""

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bars import progress_count
from model.checkpoint import has_checkpoint, load_checkpoint, load_network
from model.dataset import Dataset, Sample
from model.encoder import OnnxEncoder
from model.errors import DatasetError, ModelFileError
from model.facts import TrainedOn
from model.gei import gait_energy_images
from model.networks import Network
from model.protocols import Labels

Walks = Sequence[NDArray[np.uint8]]
Encode = Callable[[Walks], NDArray[np.float32]]

BATCH_FRAMES = 480
"""Frames per call, padding included, unless another number is known to be faster."""

MEMORY_BYTES = 1 << 30
"""Embeddings larger than this go into a temporary file that disappears with the process."""


@dataclass(frozen=True)
class Embedder:
    """One way to embed walks; `encode` maps N walks to float32 `[N, P*D]`."""

    name: str
    parts: int
    encode: Encode
    size: tuple[int, int] = (64, 44)
    trained_on: tuple[str, ...] = ()
    """Subjects of the dataset folder that it was trained on, if the file says so."""
    training: TrainedOn | None = None
    """What an exported file records about its training."""
    batch_frames: int = BATCH_FRAMES
    """Frames per call up to which batching makes a walk cheaper."""
    max_frames: int | None = None
    """Frames of the longest walk that it takes; None for any."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings float32 `[N, P*D]` of the readable samples, and errors for the others."""

    samples: tuple[Sample, ...]
    embeddings: NDArray[np.float32]
    unreadable: tuple[str, ...]

    @property
    def labels(self) -> Labels:
        """Subject, condition and view of the samples."""
        return Labels.of([(s.subject, s.condition, s.view) for s in self.samples])


def open_embedder(path: Path) -> Embedder:
    """Open a model: `.onnx` with ONNX Runtime, a checkpoint with torch.

    Raises:
        ModelFileError: the file is neither, or is damaged.

    """
    if not has_checkpoint(path):
        what = "a folder" if path.is_dir() else "not there"
        raise ModelFileError(f"expected a model file, got {path}, which is {what}")
    if path.suffix == ".onnx":
        encoder = OnnxEncoder.open(path)
        facts = encoder.facts
        return Embedder(
            facts.model_id,
            facts.parts,
            encoder.encode,
            facts.size,
            training=facts.training,
            batch_frames=encoder.runtime.batch_frames,
            max_frames=facts.max_frames,
        )
    checkpoint = load_checkpoint(path)
    config = checkpoint.config
    name = f"{config.name}, iteration {checkpoint.iteration}"
    # Walkers are not a dataset folder, and their ids may also occur, for other people, in one.
    trained_on = () if config.data.path is None else checkpoint.subjects
    network = config.network
    return Embedder(name, network.parts, encode_with(load_network(path)), network.size, trained_on)


def open_embedders(paths: Sequence[Path]) -> list[Embedder]:
    """Open several models (see `open_embedder`); models with equal names get their path added."""
    embedders = [open_embedder(path) for path in paths]
    alike = Counter(dict(zip(paths, (e.name for e in embedders), strict=True)).values())
    return [
        replace(embedder, name=f"{embedder.name} ({path})")
        if alike[embedder.name] > 1
        else embedder
        for path, embedder in zip(paths, embedders, strict=True)
    ]


def gei_embedder(size: tuple[int, int] = (64, 44)) -> Embedder:
    """Return the baseline: the mean silhouette, with its rows as parts."""
    return Embedder("GEI, nearest neighbour", size[0], gait_energy_images, size)


def encode_with(network: Network) -> Encode:
    """Return a function that embeds with a torch network in evaluation mode, on CUDA if there."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()

    def encode(walks: Walks) -> NDArray[np.float32]:
        lengths = np.array([len(walk) for walk in walks])
        padded = np.zeros((len(walks), lengths.max(), *walks[0].shape[1:]), np.uint8)
        for row, walk in zip(padded, walks, strict=True):
            row[: len(walk)] = walk
        with torch.inference_mode():
            silhouettes = torch.from_numpy(padded).to(device)
            embedding = network(silhouettes, torch.from_numpy(lengths).to(device))
        flat: NDArray[np.float32] = embedding.flatten(1).float().cpu().numpy()
        return flat

    return encode


def embed(
    dataset: Dataset, encode: Encode, *, batch_frames: int = BATCH_FRAMES, progress: bool = False
) -> Embedded:
    """Embed every sample of a dataset, grouping walks of similar length to limit padding.

    A call holds at most `batch_frames` frames, padding included, or one walk.

    Raises:
        DatasetError: no sample could be read.
        ModelFileError: the model's embeddings are not finite.

    """
    samples = sorted(dataset.samples, key=lambda sample: sample.length)
    kept: list[Sample] = []
    unreadable: list[str] = []
    embeddings = np.empty((0, 0), np.float32)
    with progress_count(len(samples), "sample", shown=progress) as advance:
        for batch in _batches(samples, batch_frames):
            readable, walks = _read(batch, unreadable)
            if walks:
                made = _finite(encode(walks), readable)
                if not kept:
                    embeddings = _room(len(samples), made.shape[1])
                embeddings[len(kept) : len(kept) + len(made)] = made
                kept += readable
            advance(len(batch))
    if not kept:
        raise DatasetError(f"expected readable samples, got none: {'; '.join(unreadable[:3])}")
    return Embedded(tuple(kept), embeddings[: len(kept)], tuple(unreadable))


def _finite(embeddings: NDArray[np.float32], samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Return embeddings `[N, L]` if all are finite, else raise: NaN would count as a hit."""
    wrong = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(wrong):
        raise ModelFileError(
            f"expected embeddings of finite numbers from the model, got others of "
            f"{samples[wrong[0]].name}: its training has gone astray"
        )
    return embeddings


def _read(
    batch: Sequence[Sample], unreadable: list[str]
) -> tuple[list[Sample], list[NDArray[np.uint8]]]:
    """Return the readable samples with their walks; append errors to `unreadable`."""
    readable, walks = [], []
    for sample in batch:
        try:
            walks.append(sample.silhouettes())
            readable.append(sample)
        except DatasetError as error:
            unreadable.append(str(error))
    return readable, walks


def _room(*shape: int) -> NDArray[np.float32]:
    """Return space for embeddings: in memory or, if too large, in an unnamed temporary file."""
    if math.prod(shape) * 4 <= MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _batches(samples: Sequence[Sample], most: int) -> Iterator[list[Sample]]:
    """Batch samples sorted by length, with at most `most` frames per padded batch, or one walk."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and sample.length * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch
