"""Draws how often the right subject is found: CMC for the closed set, DET for the open set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from model.cross_view import CrossView
from model.open_set import Searches, det
from model.plots.style import colour, drawing

RANKS = 20
# The smallest rate on the logarithmic axes, which cannot show zero.
_LEAST = 1e-4


@dataclass(frozen=True)
class Identified:
    """Results of one method on one dataset."""

    name: str
    closed: Mapping[str, CrossView]
    """By kind of probe."""
    searches: Searches


def draw_cmc(methods: Sequence[Identified]) -> Figure:
    """Draw the cumulative match characteristic, one panel per kind of probe."""
    kinds = list(methods[0].closed)
    places = np.arange(1, RANKS + 1)
    with drawing(1, len(kinds), 3.4, sharey=True) as (figure, panels):
        for axes, kind in zip(panels[0], kinds, strict=True):
            for number, method in enumerate(methods):
                curve = 100 * method.closed[kind].cumulative(RANKS)
                axes.plot(places, curve, color=colour(number), label=method.name)
            axes.set(title=kind, xlabel="rank (gallery samples)", ylim=(0, 101), xlim=(1, RANKS))
            axes.set_xticks([1, 5, 10, 15, 20])
        panels[0, 0].set_ylabel("own subject within rank, %")
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(2, len(names)))
    return figure


def draw_det(methods: Sequence[Identified]) -> Figure:
    """Draw the detection error trade-off: FNIR at rank 1 against FPIR, both axes logarithmic.

    Where fewer than three of all strangers' walks would be named, the curve is meaningless, so that
    part is shaded (rule of three).
    """
    with drawing(1, 1, 4.2) as (figure, panels):
        axes = panels[0, 0]
        for number, method in enumerate(methods):
            curve = det(method.searches)
            axes.plot(
                100 * np.maximum(curve.fpir, _LEAST),
                100 * np.maximum(curve.fnir, _LEAST),
                color=colour(number),
                label=method.name,
                drawstyle="steps-post",
            )
        shown = 300 / max(1, methods[0].searches.independent)
        axes.axvspan(100 * _LEAST, shown, color="#f0f0f0", zorder=0)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="FPIR: strangers' searches that name somebody, %",
            ylabel="FNIR at rank 1: enrolled people missed, %",
            xlim=(0.05, 100),
            ylim=(1, 105),
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.annotate(
            "too few walks\nto show this",
            (0.055, 1.15),
            color="#777777",
            fontsize=9,
        )
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.16))
    return figure
