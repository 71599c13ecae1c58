"""Checks that only body and gait identify a walker, and that each of them does.

A leak is a number that identifies the subject although no camera would see it in a person: the
length of a file, the instant at which a recording begins, the size of a crop. Chance is one in the
number of subjects.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from model.walkers.features import (
    Features,
    Vector,
    Walks,
    energy_distances,
    features_of,
    found,
    scalar_distances,
)
from model.walkers.finding import Finding
from model.walkers.generate import Casting
from model.walkers.packed import write_packed
from model.walkers.settings import WalkerSettings

_GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
_PROBES = ("nm-05", "nm-06")
_SIDE = 90
_ABLATION_VIEWS = (36, 90, 144)

Distance = Callable[[Sequence[Features], Sequence[Features]], Vector]


def leak_findings(
    walks: Walks, subjects: range, settings: WalkerSettings, *, workers: int = 1
) -> list[Finding]:
    """Test quantities that must not identify a subject; the limits are in % above chance.

    A body's height in pixels reveals something at a fixed distance, as in every recording of this
    kind. Paths off the middle blur it and alignment removes it; its limit is the highest.
    """
    chance = 100 / len(subjects)
    whole = features_of(
        subjects,
        replace(settings, frames=None),
        conditions=(*_GALLERY, *_PROBES),
        views=(_SIDE,),
        workers=workers,
    )
    levels: tuple[tuple[str, Distance, float], ...] = (
        ("frame count names the subject (%)", scalar_distances(lambda w: w.frames), 10),
        ("first phase names the subject (%)", scalar_distances(lambda w: w.phase, 1.0), 6),
        ("height in pixels names the subject (%)", scalar_distances(lambda w: w.height), 15),
    )
    leaks = [
        Finding(what, _rate(whole, subjects, distance), 0, chance + above)
        for what, distance, above in levels
    ]
    other = features_of(
        subjects,
        replace(settings, seed=settings.seed + 1),
        conditions=_PROBES,
        views=(_SIDE,),
        workers=workers,
    )
    strangers = {**walks, **other}
    return [
        Finding("labels shuffled (%)", _shuffled(walks, subjects), 0, chance + 5),
        Finding("another seed's people (%)", _rate(strangers, subjects), 0, chance + 6),
        *leaks,
    ]


def ablation_findings(
    subjects: range, settings: WalkerSettings, *, workers: int = 1
) -> list[Finding]:
    """Check that shape alone and motion alone each identify people at over five times chance."""
    chance = 100 / len(subjects)
    castings = {
        "motion alone, one body for all (%)": Casting(body_of=subjects[0]),
        "shape alone, one way of walking for all (%)": Casting(style_of=subjects[0]),
    }
    findings = []
    for what, casting in castings.items():
        walks = features_of(
            subjects,
            settings,
            conditions=(*_GALLERY, *_PROBES),
            views=_ABLATION_VIEWS,
            workers=workers,
            casting=casting,
        )
        rate = float(np.mean([_rate(walks, subjects, view=view) for view in _ABLATION_VIEWS]))
        findings.append(Finding(what, rate, min(5 * chance, 100.0), 100))
    return findings


def repetition_findings(walks: Walks, subjects: range, settings: WalkerSettings) -> list[Finding]:
    """Check that the same seed reproduces every bit of a walk, and that no walk occurs twice."""
    again = features_of(subjects[:2], settings, conditions=("nm-01", "cl-01"), views=(0, _SIDE))
    changed = sum(walks[key].digest != features.digest for key, features in again.items())
    twice = len(walks) - len({features.digest for features in walks.values()})
    return [
        Finding("walks that the same seed did not repeat", changed, 0, 0),
        Finding("walks that are there twice", twice, 0, 0),
    ]


def worker_findings(subjects: range, settings: WalkerSettings) -> list[Finding]:
    """Check that one and two worker processes write the same bytes."""
    with TemporaryDirectory() as folder:
        written = []
        for workers in (1, 2):
            path = Path(folder) / str(workers)
            write_packed(
                path,
                subjects[:2],
                settings,
                conditions=("nm-01",),
                views=(_SIDE,),
                workers=workers,
            )
            written.append({file.name: file.read_bytes() for file in sorted(path.iterdir())})
    first, second = written
    unlike = sum(first[name] != second.get(name) for name in first)
    return [Finding("files that one and two workers write differently", unlike, 0, 0)]


def _rate(
    walks: Walks, subjects: range, distance: Distance = energy_distances, view: int = _SIDE
) -> float:
    probes = [(s, c, view) for s in subjects for c in _PROBES]
    gallery = [(s, c, view) for s in subjects for c in _GALLERY]
    distances = distance([walks[key] for key in probes], [walks[key] for key in gallery])
    return found(distances, [key[0] for key in probes], [key[0] for key in gallery])


def _shuffled(walks: Walks, subjects: range) -> float:
    """Return rank-1 with each probe's identity drawn at random, averaged over the views."""
    generator = np.random.default_rng(0)
    rates = []
    for view in sorted({view for _, _, view in walks}):
        probes = [(s, c, view) for s in subjects for c in _PROBES]
        gallery = [(s, c, view) for s in subjects for c in _GALLERY]
        distances = energy_distances(
            [walks[key] for key in probes], [walks[key] for key in gallery]
        )
        claimed = generator.choice(np.array(subjects), len(probes))
        rates.append(found(distances, claimed.tolist(), [key[0] for key in gallery]))
    return float(np.mean(rates))
