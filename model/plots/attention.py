"""Draws where Meta Triple Attention looks: its maps on a strip of silhouettes (paper, Fig. 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from model.attention import MetaTripleAttention
from model.errors import DatasetError
from model.networks import Network
from model.plots.style import colour, drawing, without_frame

Walk = NDArray[np.uint8]
Values = NDArray[np.float32]

COLUMNS = 10
"""Number of silhouettes in the strip."""
# The compression before the first attention merges three frames into a step.
_FRAMES_A_STEP = 3


@dataclass(frozen=True)
class Maps:
    """One walk's attention at one stage, values in (0, 1); None for a dimension that is off."""

    channel: NDArray[np.float32] | None
    """Mean over the steps, `[C]`."""
    temporal: NDArray[np.float32] | None
    """Mean over the channels, `[T/3]`."""
    spatial: NDArray[np.float32] | None
    """`[T/3, H, W]`."""


def attention_maps(network: Network, walk: Walk, stage: str) -> Maps:
    """Embed an aligned walk uint8 `[T, H, W]` and return the attention maps of one stage.

    Raises:
        DatasetError: the network has no attention at that stage, or the walk has too few frames.

    """
    stages = getattr(network, "attend", {})
    if stage not in stages:
        there = ", ".join(stages) or "none in this network"
        raise DatasetError(f"expected a stage with attention ({there}), got {stage!r}")
    if len(walk) < _FRAMES_A_STEP:
        raise DatasetError(f"expected {_FRAMES_A_STEP} frames or more, got {len(walk)}")
    found: dict[str, torch.Tensor] = {}

    def keep(
        module: MetaTripleAttention, inputs: tuple[torch.Tensor, torch.Tensor], _: torch.Tensor
    ) -> None:
        found.update(module.attention_maps(*inputs))

    handle = stages[stage].register_forward_hook(keep)
    try:
        with torch.inference_mode():
            network.eval()(torch.from_numpy(walk)[None], torch.tensor([len(walk)]))
    finally:
        handle.remove()
    return Maps(
        channel=_mean(found, "channel", (2, 3, 4)),
        temporal=_mean(found, "temporal", (1, 3, 4)),
        spatial=_mean(found, "spatial", (1,)),
    )


def draw_attention(walks: Mapping[str, Walk], network: Network, stage: str) -> Figure:
    """Draw the first walk's temporal and spatial attention, and all walks' channel attention."""
    maps = {name: attention_maps(network, walk, stage) for name, walk in walks.items()}
    name, first = next(iter(maps.items()))
    where = f"{name}, stage {stage}"
    channels = {label: one.channel for label, one in maps.items() if one.channel is not None}
    there = [first.temporal is not None, first.spatial is not None, bool(channels)]
    with drawing(1, 1, 0.6 + 1.55 * sum(there)) as (figure, panels):
        panels[0, 0].remove()
        parts = iter(figure.subfigures(sum(there), 1, squeeze=False)[:, 0])
        if first.temporal is not None:
            _draw_time(next(parts), walks[name], first.temporal, where)
        if first.spatial is not None:
            _draw_plane(next(parts), walks[name], first.spatial, where)
        if channels:
            _draw_channels(next(parts), channels, stage)
    return figure


def _draw_time(part: SubFigure, walk: Walk, values: Values, where: str) -> None:
    """Draw silhouettes along the walk, darker with more attention."""
    low, high = float(values.min()), float(values.max())
    part.suptitle(f"temporal attention, {low:.3f} to {high:.3f} ({where})", fontsize=10.5)
    for panel, step in _strip(part, len(values)):
        share = (float(values[step]) - low) / max(high - low, 1e-9)
        shade = 1 - _frame(walk, step) * (0.15 + 0.85 * share)
        panel.imshow(shade, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        panel.set_xlabel(f"{values[step]:.3f}", fontsize=9)


def _draw_plane(part: SubFigure, walk: Walk, values: Values, where: str) -> None:
    """Draw each step's map, bright where attention is high, under its middle frame's outline."""
    low, high = float(values.min()), float(values.max())
    part.suptitle(f"spatial attention, {low:.3f} to {high:.3f} ({where})", fontsize=10.5)
    for panel, step in _strip(part, len(values)):
        frame = _frame(walk, step)
        panel.imshow(
            values[step],
            cmap="viridis",
            vmin=low,
            vmax=high,
            extent=(-0.5, frame.shape[1] - 0.5, frame.shape[0] - 0.5, -0.5),
            interpolation="nearest",
        )
        panel.contour(frame, [0.5], colors="white", linewidths=1)
        panel.set_xlabel(f"frame {_FRAMES_A_STEP * step + 1}", fontsize=9)


def _draw_channels(part: SubFigure, channels: Mapping[str, Values], stage: str) -> None:
    axes = part.subplots()
    for place, (name, values) in enumerate(channels.items()):
        axes.plot(values, color=colour(place), linewidth=1.1, label=name)
    axes.set(xlabel=f"channel of stage {stage}", ylabel="attention\n(0 to 1)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    part.suptitle("channel attention", fontsize=10.5)
    axes.legend(ncols=len(channels), loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _strip(part: SubFigure, steps: int) -> list[tuple[Axes, int]]:
    """Return adjacent panels and the steps they show, evenly spaced along the walk."""
    picked = np.linspace(0, steps - 1, min(COLUMNS, steps)).round().astype(int)
    panels = part.subplots(1, len(picked), squeeze=False)[0]
    for panel in panels:
        without_frame(panel)
    return list(zip(panels, picked.tolist(), strict=True))


def _frame(walk: Walk, step: int) -> NDArray[np.float32]:
    """Return the middle frame of those that a step reads, 0 to 1."""
    frame: NDArray[np.float32] = walk[_FRAMES_A_STEP * step + 1].astype(np.float32) / 255
    return frame


def _mean(
    maps: Mapping[str, torch.Tensor], name: str, axes: tuple[int, ...]
) -> NDArray[np.float32] | None:
    if name not in maps:
        return None
    values: NDArray[np.float32] = maps[name].float().mean(dim=axes)[0].cpu().numpy()
    return values
