"""Writes a variant of a model file, smaller or faster, and measures what it loses in accuracy.

The loss is measured as rank-1 on people that no training has seen, and recorded in the variant's
facts. A variant that loses too much is not written.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from model.caches import BENCHMARK, walkers_dataset
from model.casia_a import CROSS, EVERY, SAME, figures, walk_files, walks
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import embed
from model.encoder import OnnxEncoder
from model.errors import ExportError
from model.evaluate import RUNS, subject_range
from model.export import write_model
from model.facts import Comparison, ModelFacts
from model.manifest import check_place
from model.protocols import CASIA_B, closed_set
from model.threshold import calibrate_on_walkers

LARGEST_LOSS = 0.2
"""Maximum loss of rank-1 on any set, in percentage points."""


@dataclass(frozen=True)
class Trial:
    """What source and variant are measured on: benchmark walkers, and CASIA-A if available."""

    dataset: Dataset
    casia_a: Path | None = None

    def rank_one(self, encoder: OnnxEncoder) -> dict[str, float]:
        """Return rank-1 in percent for each set, by flattened distance as in the gallery."""
        batch = encoder.runtime.batch_frames
        embedded = embed(self.dataset, encoder.encode, batch_frames=batch)
        results = closed_set(flat_distances, embedded.embeddings, embedded.labels, CASIA_B)
        found = {kind: 100 * result.mean for kind, result in results.items()}
        if self.casia_a is None:
            return found
        size = encoder.facts.size
        real = {key: encoder.encode([walk])[0] for key, walk in walks(self.casia_a, size)}
        pairs = {
            "CASIA-A, same view": SAME,
            "CASIA-A, two views": [((gallery, EVERY), (probe, EVERY)) for gallery, probe in CROSS],
        }
        means = {name: figures(real, sides, flat_distances)[1] for name, sides in pairs.items()}
        return found | {name: 100 * mean.value for name, mean in means.items()}


@dataclass(frozen=True)
class Terms:
    """The conditions under which a variant is written."""

    trial: Trial
    calibrate: bool = False
    """Measure a new threshold; the source's was measured on other distances."""
    anyway: bool = False
    """Write it even if it loses too much; its facts record the loss."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the source, the output and the terms."""
    parser.add_argument("model", type=Path, help="an ONNX file that `metagait export` wrote")
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    parser.add_argument(
        "--subjects", metavar="A:B", help="for a trial: measure on these benchmark walkers only"
    )
    parser.add_argument(
        "--casia-a", type=Path, metavar="FOLDER", help="also measure on CASIA-A in this folder"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="measure a default threshold on synthetic walkers; that of the source does not hold "
        "for the new file",
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help=f"write the file even if it loses more than {LARGEST_LOSS} points of rank-1",
    )


def opened_source(arguments: argparse.Namespace) -> OnnxEncoder:
    """Open the source of a variant, after checking that the variant can be written.

    Raises:
        ExportError: the output cannot be written, or would replace the source.
        DatasetError: `--casia-a` is not a CASIA-A folder.
        ModelFileError: the source is not one of our model files.

    """
    check_place(arguments.output)
    if arguments.output.resolve() == arguments.model.resolve():
        raise ExportError(
            f"expected another file than {arguments.model} to write: its weights would be lost"
        )
    if arguments.casia_a is not None:
        walk_files(arguments.casia_a)
    return OnnxEncoder.open(arguments.model)


def terms_of(arguments: argparse.Namespace, size: tuple[int, int]) -> Terms:
    """Read the terms from the command line, for a model that takes silhouettes of `size`.

    Raises:
        DatasetError: `--subjects` selects none of the benchmark walkers.

    """
    dataset = walkers_dataset(BENCHMARK, RUNS, "benchmark", size)
    if arguments.subjects:
        dataset = dataset.of(subject_range(dataset, arguments.subjects))
    return Terms(Trial(dataset, arguments.casia_a), arguments.calibrate, arguments.anyway)


def write_variant(
    model: onnx.ModelProto,
    facts: ModelFacts,
    path: Path,
    *,
    source: OnnxEncoder,
    terms: Terms,
    kept_energy: float | None = None,
) -> ModelFacts:
    """Measure a variant against `source` and write it to `path` together with the results.

    Raises:
        ExportError: it loses more than `LARGEST_LOSS` points on a set, or its output is unusable
            (see `check_finite`).

    """
    facts = replace(facts, threshold=None)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        write_model(model, facts, trial, check_finite)
        encoder = OnnxEncoder.open(trial)
        comparison = Comparison(
            source=source.facts.model_id,
            before=terms.trial.rank_one(source),
            after=terms.trial.rank_one(encoder),
            subjects=len(terms.trial.dataset.subjects),
            kept_energy=kept_energy,
        )
        print(table(comparison))
        if not terms.anyway:
            check_loss(comparison)
        threshold = calibrate_on_walkers(encoder, RUNS) if terms.calibrate else None
    facts = replace(facts, threshold=threshold, comparison=comparison)
    return write_model(model, facts, path, check_finite)


def check_loss(comparison: Comparison) -> None:
    """Raise ExportError if a set loses more than `LARGEST_LOSS` points."""
    lost = {name: before - comparison.after[name] for name, before in comparison.before.items()}
    name = max(lost, key=lambda key: (math.isnan(lost[key]), lost[key]))
    if not lost[name] <= LARGEST_LOSS:  # so that what could not be measured fails as well
        raise ExportError(
            f"expected to lose at most {LARGEST_LOSS} points of rank-1, lost {lost[name]:.2f} on "
            f"{name}; --anyway writes it all the same"
        )


def check_finite(path: Path) -> None:
    """Raise ExportError if embeddings are not finite, or depend on the rest of the batch."""
    encoder = OnnxEncoder.open(path, provider="cpu")
    generator = np.random.default_rng(0)
    made = [
        generator.integers(0, 256, (length, *encoder.facts.size), np.uint8) for length in (1, 20)
    ]
    both = encoder.encode(made)
    alone = np.concatenate([encoder.encode([walk]) for walk in made])
    if not np.abs(both - alone).max() <= 1e-2 * max(1.0, float(np.abs(alone).max())):
        raise ExportError(f"expected one embedding of a walk in any batch, got {both} and {alone}")


def table(comparison: Comparison) -> str:
    """Return rank-1 before and after as a Markdown table."""
    after: Mapping[str, float] = comparison.after
    lines = ["| rank-1 | before | after | points |", "| --- | --: | --: | --: |"]
    lines += [
        f"| {name} | {value:.2f} | {after[name]:.2f} | {after[name] - value:+.2f} |"
        for name, value in comparison.before.items()
    ]
    return "\n".join(lines)
