"""Saves and loads checkpoints: one self-contained file from which a training can be rebuilt."""

import io
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.config import TrainConfig, build, plain
from model.errors import ModelFileError
from model.networks import Network, build_network
from model.pieces import in_pieces, read_pieces, remove_pieces, write_pieces, write_whole
from model.silhouettes import PREPROCESSING_ID

FORMAT = "metagait-checkpoint-2"

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a training needs to continue, and that an export needs to be identified."""

    config: TrainConfig
    iteration: int
    """Completed iterations; the batches to come depend on this number alone."""
    subjects: tuple[str, ...]
    """Training subjects in the order of their labels."""
    network: Weights
    average: Weights
    """Moving average of the network's weights; the weights themselves if none is kept."""
    classifier: Weights
    optimiser: dict[str, Any]
    random_state: Tensor
    """State of torch's CPU generator."""
    commit: str
    """Commit of the code that trained, or "unknown" outside a repository."""
    metrics: dict[str, float] = field(default_factory=dict)
    preprocessing_id: str = PREPROCESSING_ID

    def check_types(self) -> None:
        """Raise TypeError if an entry is of another type than a training writes."""
        weights = [*self.network.values(), *self.average.values(), *self.classifier.values()]
        tensors = [*weights, self.random_state]
        texts = (*self.subjects, self.commit, self.preprocessing_id)
        plain = type(self.iteration) is int and isinstance(self.optimiser, dict)
        if not (
            plain
            and all(isinstance(tensor, Tensor) for tensor in tensors)
            and all(isinstance(text, str) for text in texts)
        ):
            raise TypeError("an entry of another type")

    def check_preprocessing(self) -> None:
        """Raise ModelFileError if it was trained on walks that were aligned differently."""
        if self.preprocessing_id != PREPROCESSING_ID:
            raise ModelFileError(
                f"expected a checkpoint trained behind preprocessing {PREPROCESSING_ID!r}, got one "
                f"behind {self.preprocessing_id!r}: only a new training can begin with its weights"
            )


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, pieces: bool = False) -> None:
    """Write the checkpoint whole or, with the OSError of a full disk, not at all.

    An interrupted write leaves the older file in place. With `pieces`, no file is larger than 16
    MiB (`model.pieces`); `load_checkpoint` reads either kind from the same path.
    """
    content = {
        **{key: getattr(checkpoint, key) for key in Checkpoint.__dataclass_fields__},
        "format": FORMAT,
        "config": plain(checkpoint.config),
        "subjects": list(checkpoint.subjects),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # on a full disk, torch itself would raise an error that hides the cause
    torch.save(content, buffer)
    if pieces:
        write_pieces(buffer.getvalue(), path)
        path.unlink(missing_ok=True)
        return
    write_whole(buffer.getvalue(), path)
    remove_pieces(path)


def has_checkpoint(path: Path) -> bool:
    """Return whether there is a checkpoint at `path`, as one file or in pieces."""
    return path.is_file() or in_pieces(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; only tensors and plain values are unpickled.

    Raises:
        ModelFileError: the file is missing, damaged, or not a checkpoint of this program.
        ConfigError: it was made by a version of the program with other settings.

    """
    source = io.BytesIO(read_pieces(path)) if in_pieces(path) and not path.is_file() else path
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its parsers hit in a foreign file
        said = _without_advice(error)
        raise ModelFileError(f"expected a checkpoint in {path}, got: {said}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ModelFileError(f"expected a file of format {FORMAT} in {path}, got another one")
    try:
        config = build(TrainConfig, content.pop("config"))
        checkpoint = Checkpoint(config=config, subjects=tuple(content.pop("subjects")), **content)
        checkpoint.check_types()
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"expected a checkpoint of this version in {path}, got: {error!r}"
        ) from error
    return checkpoint


def _without_advice(error: Exception) -> str:
    """Say what torch met, without its advice to run whatever program the file holds."""
    said = str(error)
    if "weights_only" in said:  # the advice wraps the error that torch was handling
        said = str(error.__context__ or "").strip().partition("\n")[0]
    # Some of these have no message, such as the one for an empty file.
    return said or type(error).__name__


def load_network(path: Path) -> Network:
    """Rebuild the network of a checkpoint, in evaluation mode, on the CPU.

    Raises:
        ModelFileError: as in `load_checkpoint`; or another version of this program made it, so its
            weights do not fit the network or its preprocessing differs.

    """
    checkpoint = load_checkpoint(path)
    checkpoint.check_preprocessing()
    network = build_network(checkpoint.config.network)
    try:
        network.load_state_dict(checkpoint.average)
    except RuntimeError as error:
        raise ModelFileError(f"expected weights that fit the network, got: {error}") from error
    return network.eval()


def weights_of(module: nn.Module) -> Weights:
    """Copy a module's weights and buffers to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}


def current_commit() -> str:
    """Return the commit of this source tree, or "unknown" when it is not a repository."""
    command = ["git", "rev-parse", "HEAD"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
