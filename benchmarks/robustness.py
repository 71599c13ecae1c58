"""Measure rank-1 and decisions on damaged silhouettes of real people.

    python benchmarks/robustness.py FOLDER [--model X.onnx] [--seed 0]

FOLDER is CASIA-A as for `benchmarks/casia_a.py`. Passes 1 and 2 are the gallery, passes 3 and 4 of
the same view the probes. Each row applies one damage to every probe (`benchmarks/damages.py`).
"clean gallery" enrols people as they were recorded, and "match" is the share of these searches that
the file's own threshold answers with the right name. "damaged gallery" applies the same damage to
the gallery, as one camera for both would. "distance" is the median to the nearest clean walk.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from casia_a import Answered, seen
from damages import DAMAGES, Damage, Frames

from model.casia_a import SAME, Embeddings, Key, recordings
from model.encoder import SHIPPED_MODEL, OnnxEncoder, Threshold
from model.silhouettes import align

Recorded = dict[Key, Frames]

HEAD = ("done to the probe", "clean gallery", "match", "distance", "damaged gallery")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="CASIA-A")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    encoder = OnnxEncoder.open(given.model)
    if encoder.facts.threshold is None:
        raise SystemExit(f"expected a model file with a threshold, got {encoder.facts.model_id}")
    print(f"{encoder.facts.model_id}, rank-1 in %, same view\n")
    for line in table(dict(recordings(given.folder)), encoder, given.seed):
        print(line, flush=True)


def table(recorded: Recorded, encoder: OnnxEncoder, seed: int = 0) -> Iterator[str]:
    """Yield the lines of the table, one for each damage."""
    threshold = encoder.facts.threshold
    assert threshold is not None
    clean = embedded(recorded, encoder, DAMAGES["none"], seed)
    yield f"| {' | '.join(HEAD)} |"
    yield "| --- |" + " --: |" * (len(HEAD) - 1)
    for name, damage in DAMAGES.items():
        yield row(name, clean, embedded(recorded, encoder, damage, seed), threshold)


def embedded(recorded: Recorded, encoder: OnnxEncoder, damage: Damage, seed: int) -> Embeddings:
    """Embed every walk after `damage` was applied; the result depends only on the seed."""
    embeddings: Embeddings = {}
    for place, (key, frames) in enumerate(recorded.items()):
        damaged = damage(frames, np.random.default_rng((seed, place)))
        walk = align(damaged, encoder.facts.size).silhouettes
        embeddings[key] = encoder.encode([walk])[0]
    return embeddings


def row(name: str, clean: Embeddings, damaged: Embeddings, threshold: Threshold) -> str:
    """Return one line: the searches of damaged probes in the clean and the damaged gallery."""
    in_clean, in_damaged = (
        Answered.joined([seen(gallery, damaged, *sides) for sides in SAME])
        for gallery in (clean, damaged)
    )
    cells = (
        name,
        f"{100 * in_clean.right.mean():.1f}",
        f"{100 * (in_clean.matches(threshold) & in_clean.right).mean():.1f}",
        f"{np.median(in_clean.distances):.2f}",
        f"{100 * in_damaged.right.mean():.1f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
