"""Draws training curves from the `log.jsonl` that a training writes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from model.errors import DatasetError
from model.plots.style import colour, drawing

# Key in a log line, title with unit, factor.
_PANELS = (
    ("triplet", "triplet loss", 1.0),
    ("cross_entropy", "cross-entropy, nats", 1.0),
    ("contrastive", "contrastive loss, nats", 1.0),
    ("nonzero", "hard triplets, %", 100.0),
    ("distance", "mean distance in a batch", 1.0),
)

Log = Mapping[str, list[float]]


def read_log(path: Path) -> Log:
    """Read a training's log as columns, skipping a line that was cut off by a crash.

    Raises:
        DatasetError: the file does not exist or has no line of a training.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"expected the log of a training in {path}, got: {error}") from error
    entries = [entry for line in lines if (entry := _entry(line))]
    if not entries:
        raise DatasetError(f"expected lines of a training in {path}, got none")
    keys = ("iteration", *(key for key, _, _ in _PANELS))
    return {key: [float(entry.get(key, np.nan)) for entry in entries] for key in keys}


def draw_curves(logs: Mapping[str, Log]) -> Figure:
    """Draw losses, hard triplets and distances over the iterations, one colour per training."""
    # A training without a contrastive loss, or from before it was logged, gets no curve for it.
    has_one = any(np.nan_to_num(log["contrastive"]).any() for log in logs.values())
    shown = [panel for panel in _PANELS if has_one or panel[0] != "contrastive"]
    rows = (len(shown) + 1) // 2
    with drawing(rows, 2, 2.4 * rows, sharex=True) as (figure, panels):
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        for axes, (key, title, factor) in zip(panels.flat, shown, strict=False):
            for place, (name, log) in enumerate(logs.items()):
                values = factor * np.array(log[key])
                axes.plot(log["iteration"], values, color=colour(place), label=name, linewidth=1.3)
            axes.set(ylabel=title)
            # Leave room at the top, so that a line that never falls does not lie on the frame.
            axes.set_ylim(bottom=0, top=1.1 * axes.get_ylim()[1])
        for axes in panels.flat[len(shown) - 2 : len(shown)]:
            axes.set_xlabel("iteration")
            axes.tick_params(labelbottom=True)
        if len(logs) > 1:
            handles, names = panels[0, 0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
        else:
            figure.suptitle(next(iter(logs)), fontsize=11)
    return figure


def _entry(line: str) -> dict[str, float] | None:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) and "iteration" in entry else None
