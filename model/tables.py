"""Results as the paper prints them (Table 1): rank-1 by probe view, their mean, and mAP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.protocols import CrossView


@dataclass(frozen=True)
class Row:
    """One method on one kind of probe."""

    method: str
    kind: str
    """NM, BG or CL."""
    result: CrossView


def text_table(rows: Sequence[Row]) -> str:
    """Lay the rows out for a terminal."""
    cells = _cells(rows)
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(_aligned(line, widths) for line in cells)


def markdown_table(rows: Sequence[Row]) -> str:
    """Lay the rows out as a Markdown table."""
    head, *body = _cells(rows)
    rule = ["---", "---", *["--:"] * (len(head) - 2)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    """Head and body; a view that one row lacks is a dash in it."""
    views = sorted({view for row in rows for view in row.result.views})
    body = []
    for row in rows:
        by_view = dict(zip(row.result.views, row.result.per_probe_view(), strict=True))
        figures = [by_view.get(view, math.nan) for view in views]
        figures += [row.result.mean, row.result.mean_average_precision, row.result.identical_view]
        body.append([row.kind, row.method, *(_percent(figure) for figure in figures)])
    head = ["probe", "method", *(_degrees(v) for v in views), "mean", "mAP", "same view"]
    return [head, *body]


def _degrees(view: str) -> str:
    return f"{int(view)}°" if view.isdigit() else view


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join([*names, *figures]).rstrip()
