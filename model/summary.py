"""Summarises all kinds of probe in one line per method, like the paper's Table 2.

Shows rank-1 for each kind and averaged over the kinds, and mAP and mINP averaged over the kinds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.bootstrap import Interval, percentile_interval
from model.cross_view import CrossView, Metric
from model.tables import Row, interval_values, percent, span

METRICS: tuple[Metric, ...] = ("rank-1", "mAP", "mINP")


@dataclass(frozen=True)
class Summary:
    """One method with one distance, over all kinds of probe."""

    label: str
    kinds: dict[str, CrossView]
    unmated_fail: bool = False

    def mean(self, metric: Metric) -> Interval:
        """Return the mean over the kinds, equally weighted, with its interval.

        Draws are paired only if all kinds have the same people; otherwise there is no interval.
        """
        results = list(self.kinds.values())
        people = [np.unique(result.subjects).tolist() for result in results]
        if any(names != people[0] for names in people):
            figures = [result.figure(metric, unmated_fail=self.unmated_fail) for result in results]
            return Interval(float(np.mean(figures)), math.nan, math.nan)
        draws = [result.draws(metric, unmated_fail=self.unmated_fail) for result in results]
        return percentile_interval(np.mean(draws, axis=0))

    def values(self) -> dict[str, Any]:
        """Return the means as plain values."""
        return {
            "method": self.label,
            "kinds": list(self.kinds),
            **{metric: interval_values(self.mean(metric)) for metric in METRICS},
        }


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """Group the rows of each method, leaving out methods with a single kind of probe.

    When unmated searches count as failures, a kind without any is used unchanged.
    """
    found = []
    for label, fail in dict.fromkeys((row.label, row.unmated_fail) for row in rows):
        plain = label.removesuffix(", unmated fail")
        own = [row for row in rows if row.label == label]
        others = [row for row in rows if row.label == plain]
        kinds = {row.kind: row.result for row in others} | {row.kind: row.result for row in own}
        if len(kinds) > 1:
            found.append(Summary(label, kinds, fail))
    return found


def summary_cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return header and lines of the table; empty if every method has only one kind of probe."""
    found = summaries(rows)
    if not found:
        return []
    kinds = list(dict.fromkeys(kind for summary in found for kind in summary.kinds))
    head = ["all probes", *(f"{kind} rank-1" for kind in kinds), "mean", "95 % interval"]
    return [[*head, *METRICS[1:]], *(_line(summary, kinds) for summary in found)]


def _line(summary: Summary, kinds: Sequence[str]) -> list[str]:
    fail = summary.unmated_fail
    by_kind = {k: r.figure("rank-1", unmated_fail=fail) for k, r in summary.kinds.items()}
    mean = summary.mean("rank-1")
    return [
        summary.label,
        *(percent(by_kind.get(kind, math.nan)) for kind in kinds),
        percent(mean.value),
        span(mean),
        *(percent(summary.mean(metric).value) for metric in METRICS[1:]),
    ]
