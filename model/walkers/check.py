"""Are the walkers as hard as they should be? Nearest neighbour on gait energy images.

A gait energy image is the mean of a walk's aligned silhouettes. Compared by Euclidean distance it
is the field's oldest baseline, needs no training, and moves as soon as bodies, movements, clothes
or noise do: a change of the generator that shifts the benchmark shows here first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from model.dataset.packed import open_packed
from model.walkers.generate import packed_walk
from model.walkers.packed import write_packed
from model.walkers.settings import VIEWS, WalkerSettings

_GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
_PROBES = {"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")}


@dataclass(frozen=True)
class Band:
    """Where the rank-1 rate (%) of a condition must lie, averaged over some view gaps."""

    condition: str
    gaps: tuple[int, ...]
    low: float
    high: float


BANDS = (
    Band("NM", (0,), 92, 99.5),
    Band("NM", (18,), 40, 65),
    Band("NM", (36,), 12, 30),
    Band("NM", (54, 72, 90, 108, 126), 0, 20),
    Band("BG", (0,), 50, 85),
    Band("CL", (0,), 15, 45),
)
"""For 50 subjects and the default settings."""

Rates = Mapping[str, Mapping[int, float]]


def print_check(subjects: range, settings: WalkerSettings, *, workers: int = 1) -> bool:
    """Measure, print, and return whether everything lies in its band."""
    rates = gei_rates(subjects, settings, workers=workers)
    gaps = sorted(rates["NM"])
    print(f"rank-1 (%) of gait energy images, {len(subjects)} subjects, by view gap in degrees")
    print("      " + "".join(f"{gap:6d}" for gap in gaps))
    for condition, row in rates.items():
        print(f"{condition:6s}" + "".join(f"{row[gap]:6.1f}" for gap in gaps))
    results = [_print_band(band, rates) for band in BANDS]
    ordered = rates["NM"][0] > rates["BG"][0] > rates["CL"][0]
    print(f"{_verdict(ordered)}  NM > BG > CL")
    same = _is_deterministic(subjects[0], settings)
    print(f"{_verdict(same)}  the same seed gives the same bits")
    return all(results) and ordered and same


def gei_rates(subjects: range, settings: WalkerSettings, *, workers: int = 1) -> Rates:
    """Return rank-1 rates (%) as `[condition][view gap]`, gallery nm-01..04, CASIA-B's views."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "walks"
        write_packed(path, subjects, settings, workers=workers)
        energy = {
            (s.subject, s.condition, s.view): s.silhouettes().mean(axis=0).ravel() / 255
            for s in open_packed(path).samples
        }
    names = [f"{subject:04d}" for subject in subjects]
    rates: dict[str, dict[int, float]] = {}
    for condition, probes in _PROBES.items():
        hits: dict[int, list[float]] = {}
        for seen in VIEWS:
            for known in VIEWS:
                rate = _rank1(energy, names, (probes, f"{seen:03d}"), (_GALLERY, f"{known:03d}"))
                hits.setdefault(abs(seen - known), []).append(rate)
        rates[condition] = {gap: float(np.mean(values)) for gap, values in hits.items()}
    return rates


def _rank1(
    energy: Mapping[tuple[str, str, str], NDArray[np.float64]],
    names: list[str],
    probe: tuple[tuple[str, ...], str],
    gallery: tuple[tuple[str, ...], str],
) -> float:
    def side(
        conditions: tuple[str, ...], view: str
    ) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
        keys = [(name, condition, view) for name in names for condition in conditions]
        return np.stack([energy[key] for key in keys]), np.array([key[0] for key in keys])

    probes, truth = side(*probe)
    known, labels = side(*gallery)
    # Squared distances without the probe's own square, which does not change the order.
    distances = (known**2).sum(axis=1) - 2 * probes @ known.T
    return float((labels[distances.argmin(axis=1)] == truth).mean() * 100)


def _print_band(band: Band, rates: Rates) -> bool:
    rate = float(np.mean([rates[band.condition][gap] for gap in band.gaps]))
    inside = band.low <= rate <= band.high
    gaps = "/".join(str(gap) for gap in band.gaps)
    print(
        f"{_verdict(inside)}  {band.condition} at {gaps}°: {rate:.1f}, "
        f"expected {band.low:g} to {band.high:g}"
    )
    return inside


def _verdict(good: bool) -> str:
    return "ok  " if good else "OUT "


def _is_deterministic(subject: int, settings: WalkerSettings) -> bool:
    first, second = (packed_walk(subject, "nm-01", 90, settings) for _ in range(2))
    return bool(np.array_equal(first, second))
