"""Formats closed-set results like the paper's Tables 1 to 3, for people and as plain values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bootstrap import Interval
from model.cross_view import METRICS, CrossView


@dataclass(frozen=True)
class Row:
    """One method's result on one kind of probe."""

    method: str
    measure: str
    """The distance: flattened or mean part L2."""
    kind: str
    """NM, BG or CL."""
    result: CrossView
    unmated_fail: bool = False
    """Searches without a gallery sample count as failures; otherwise they are left out."""

    @property
    def label(self) -> str:
        """Method and distance, and, if there are unmated searches, how they count."""
        name = f"{self.method}, {self.measure}"
        return f"{name}, unmated fail" if self.unmated_fail else name


def rows_of(method: str, measure: str, kind: str, result: CrossView) -> list[Row]:
    """Return the row of a result, and a second one if it has unmated searches."""
    both = (False, True) if result.unmated else (False,)
    return [Row(method, measure, kind, result, unmated_fail) for unmated_fail in both]


def text_table(rows: Sequence[Row]) -> str:
    """Format the rows for a terminal."""
    return text(_cells(rows), names=2)


def text(cells: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """Format a header and lines for a terminal; the first `names` columns are text."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(_aligned(line, widths, names) for line in cells)


def markdown_table(rows: Sequence[Row]) -> str:
    """Format the rows as a Markdown table."""
    head, *body = _cells(rows)
    return markdown([head, *body], names=2)


def markdown(cells: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """Format a header and lines as a Markdown table whose first `names` columns are text."""
    head, *body = cells
    rule = [*["---"] * names, *["--:"] * (len(head) - names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def row_values(row: Row) -> dict[str, Any]:
    """Return all figures of a row as plain values; None for what could not be measured."""
    result, fail = row.result, row.unmated_fail
    return {
        "method": row.method,
        "measure": row.measure,
        "kind": row.kind,
        "unmated": result.unmated,
        "unmated_fail": fail,
        "probes": result.probes,
        "subjects": len(np.unique(result.subjects)),
        "views": list(result.views),
        "figures": {
            metric: interval_values(result.interval(metric, unmated_fail=fail))
            for metric in METRICS
        },
        "per_probe_view": {
            metric: _list(result.per_probe_view(metric, unmated_fail=fail)) for metric in METRICS
        },
        "matrices": {
            metric: [_list(line) for line in result.matrix(metric, unmated_fail=fail)]
            for metric in METRICS
        },
        "rank_1_identical_view": plain_figure(result.identical_view),
    }


def interval_values(interval: Interval) -> dict[str, float | None]:
    """Return an interval as plain values."""
    return {key: plain_figure(getattr(interval, key)) for key in ("value", "low", "high")}


def plain_figure(value: float) -> float | None:
    """Round to five places; None if it was not measured."""
    return None if math.isnan(value) else round(float(value), 5)


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return header and body; a view that a row lacks is shown as a dash."""
    views = sorted({view for row in rows for view in row.result.views})
    head = ["probe", "method", *(_degrees(v) for v in views), "mean", "95 % interval"]
    head += [*METRICS[1:], "same view"]
    return [head, *(_line(row, views) for row in rows)]


def _line(row: Row, views: Sequence[str]) -> list[str]:
    result, fail = row.result, row.unmated_fail
    by_view = dict(
        zip(result.views, result.per_probe_view(unmated_fail=fail).tolist(), strict=True)
    )
    mean = result.interval("rank-1", unmated_fail=fail)
    others = [result.figure(metric, unmated_fail=fail) for metric in METRICS[1:]]
    return [
        row.kind,
        row.label,
        *(percent(by_view.get(view, math.nan)) for view in views),
        percent(mean.value),
        span(mean),
        *(percent(figure) for figure in (*others, result.identical_view)),
    ]


def _degrees(view: str) -> str:
    return f"{int(view)}°" if view.isdecimal() else view


def percent(share: float) -> str:
    """Format a share in percent; a dash if it was not measured."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def span(interval: Interval) -> str:
    """Format the ends of an interval in percent; a dash if there is none."""
    if math.isnan(interval.low):
        return "–"
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _aligned(line: Sequence[str], widths: Sequence[int], names: int) -> str:
    pairs = list(zip(line, widths, strict=True))
    words = [cell.ljust(width) for cell, width in pairs[:names]]
    figures = [cell.rjust(width) for cell, width in pairs[names:]]
    return "  ".join([*words, *figures]).rstrip()


def _list(values: NDArray[np.float64]) -> list[float | None]:
    return [plain_figure(value) for value in values]
