"""`metagait walkers --check`: checks that the walkers are as hard as intended and leak nothing.

A change to the generator that shifts the benchmark shows here first. The expected levels come from
the calibration, with 50 subjects and default settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.walkers.features import Walks, energy_distances, features_of, found
from model.walkers.finding import Finding
from model.walkers.leaks import (
    ablation_findings,
    leak_findings,
    repetition_findings,
    worker_findings,
)
from model.walkers.settings import CONDITIONS, VIEWS, WalkerSettings

GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
PROBES = {"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")}


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

Rates = Mapping[str, Mapping[int, float]]


def print_check(subjects: range, settings: WalkerSettings, *, workers: int = 1) -> bool:
    """Run all checks, print a table, and return whether all passed."""
    walks = features_of(subjects, settings, conditions=CONDITIONS, views=VIEWS, workers=workers)
    rates = rates_by_gap(walks)
    _print_rates(rates, len(subjects))
    findings = [
        *band_findings(rates),
        *leak_findings(walks, subjects, settings, workers=workers),
        *ablation_findings(subjects, settings, workers=workers),
        *repetition_findings(walks, subjects, settings),
        *worker_findings(subjects, settings),
    ]
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(finding.line(width))
    return all(finding.good for finding in findings)


def gei_rates(subjects: range, settings: WalkerSettings, *, workers: int = 1) -> Rates:
    """Return rank-1 rates (%) as `[condition][view gap]`; gallery nm-01..04, CASIA-B's views."""
    walks = features_of(subjects, settings, conditions=CONDITIONS, views=VIEWS, workers=workers)
    return rates_by_gap(walks)


def rates_by_gap(walks: Walks) -> Rates:
    """Return the rates for walks in every condition and view."""
    subjects = sorted({subject for subject, _, _ in walks})
    rates: dict[str, dict[int, float]] = {}
    for condition, searched in PROBES.items():
        hits: dict[int, list[float]] = {}
        for seen in VIEWS:
            for known in VIEWS:
                probes = [(s, c, seen) for s in subjects for c in searched]
                gallery = [(s, c, known) for s in subjects for c in GALLERY]
                distances = energy_distances(
                    [walks[key] for key in probes], [walks[key] for key in gallery]
                )
                rate = found(distances, [k[0] for k in probes], [k[0] for k in gallery])
                hits.setdefault(abs(seen - known), []).append(rate)
        rates[condition] = {gap: float(np.mean(values)) for gap, values in hits.items()}
    return rates


def band_findings(rates: Rates) -> list[Finding]:
    """Compare rates with their bands, and the conditions with one another."""
    findings = [
        Finding(
            f"GEI rank-1 (%), {band.condition} at {'/'.join(map(str, band.gaps))}°",
            float(np.mean([rates[band.condition][gap] for gap in band.gaps])),
            band.low,
            band.high,
        )
        for band in BANDS
    ]
    steps = [rates[easier][0] - rates[harder][0] for easier, harder in (("NM", "BG"), ("BG", "CL"))]
    return [*findings, Finding("smaller step of NM > BG > CL at 0°", min(steps), 0.1, 100)]


def _print_rates(rates: Rates, subjects: int) -> None:
    gaps = sorted(rates["NM"])
    print(f"rank-1 (%) of gait energy images, {subjects} subjects, by view gap in degrees")
    print("      " + "".join(f"{gap:6d}" for gap in gaps))
    for condition, row in rates.items():
        print(f"{condition:6s}" + "".join(f"{row[gap]:6.1f}" for gap in gaps))
    print()
