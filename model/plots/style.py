"""A common style for all plots: light, readable at README width, without leaving state behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.errors import DatasetError

WIDTH = 7.5
"""In inches; with `DPI` about the pixel width of a README column, so that text keeps its size."""
DPI = 130

# Okabe and Ito's colours, which colour-blind readers can distinguish too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000")


@contextmanager
def drawing(
    rows: int, columns: int, height: float, *, sharex: bool = False, sharey: bool = False
) -> Iterator[tuple[Figure, NDArray[Any]]]:
    """Yield a figure of `height` inches and its axes `[rows, columns]`, in the common style.

    matplotlib's settings are restored afterwards.
    """
    with rc_context(
        {
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.7,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
        }
    ):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        DatasetError: the name does not end in .png, or the file cannot be written.

    """
    if path.suffix.lower() != ".png":
        raise DatasetError(f"expected a picture's name to end in .png, got {path.name}")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(unfinished, dpi=DPI, format="png", pil_kwargs={"optimize": True})
        unfinished.replace(path)
    except OSError as error:
        raise DatasetError(f"expected to write {path}, got: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def colour(place: int) -> str:
    """Return the colour for the method, run or subject at an index; they repeat after eight."""
    return COLOURS[place % len(COLOURS)]


def without_frame(axes: Axes) -> None:
    """Remove ticks and borders, for a picture or a cloud of points."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
