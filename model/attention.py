"""Meta Triple Attention (paper, section 3.3, Eq. 4 and 5).

One homogeneous calibration network is applied to three dimensions. For each, the feature map is
transposed so that the attended dimension comes last: a signal `[N, B, *D]`, where B counts what is
calibrated separately (frames for channel and spatial attention, channels for temporal attention).

* global stream (Eq. 4): a bottleneck MLP over the dimension, which is first resampled to a fixed
size G;
* local streams: convolutions with kernel sizes 1, 3 and 5 along the dimension (2-D for spatial);
* soft gate (Eq. 5): one sigmoid number per stream, computed from the statistics.

A single Meta Hyper Network generates the weights for all three dimensions.
"""

import functools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.hyper import Shapes, weight_source
from model.resample import fixed_overlaps, overlaps, valid_steps

DIMENSIONS = ("channel", "temporal", "spatial")


class Calibration(nn.Module):
    """Calibrates one dimension: computes what is inside the sigmoid of Eq. 5.

    It has no weights of its own; they are generated for each walk and passed in.
    """

    def __init__(
        self, size: int, *, axes: int, kernels: tuple[int, ...], reduction: int, gated: bool
    ) -> None:
        super().__init__()
        self.axes, self.kernels, self.gated = axes, kernels, gated
        hidden = max(1, size // reduction)
        shapes: dict[str, tuple[int, ...]] = {"reduce": (hidden, size), "expand": (size, hidden)}
        shapes |= {f"kernel_{kernel}": (kernel**axes,) for kernel in kernels}
        if gated:
            shapes["gate"] = (len(kernels) + 1, size)
        self.shapes = shapes
        places = [_places(kernel, max(kernels), axes) for kernel in kernels]
        streams = torch.eye(len(kernels))
        repeated = [row.expand(len(place), -1) for row, place in zip(streams, places, strict=True)]
        self.register_buffer("places", torch.cat(places), persistent=False)  # Σk,k
        self.register_buffer("spread", torch.cat(repeated).T, persistent=False)  # L,Σk
        self.register_buffer("shifts", _unit_kernels(max(kernels), axes), persistent=False)

    def forward(
        self, signal: Tensor, code: Tensor, statistics: Tensor, weights: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Calibrate a signal.

        Args:
            signal: `[N, B, *D]`, where D is one axis or two.
            code: the signal at the fixed size of the global stream, `[N, B, G]`.
            statistics: mean of the code over B, `[N, G]`.
            weights: this dimension's weights, each `[N, *shape]`.

        Returns:
            Gated sum of the local streams `[N, B, *D]`, and the gated global stream `[N, B, G]`.

        """
        gate = self._gate(statistics, weights)  # N,L+1
        local = self._local(signal, self._merged_kernel(weights, gate))
        return local, self._global(code, weights) * gate[:, -1, None, None]

    def _gate(self, statistics: Tensor, weights: dict[str, Tensor]) -> Tensor:
        if not self.gated:
            return statistics.new_ones(1, len(self.kernels) + 1)
        return torch.sigmoid(weights["gate"] @ statistics[..., None])[..., 0]  # N,L+1

    def _merged_kernel(self, weights: dict[str, Tensor], gate: Tensor) -> Tensor:
        """Merge the local streams into one kernel: a gated sum of convolutions is a convolution."""
        places, spread = cast(Tensor, self.places), cast(Tensor, self.spread)
        streams = torch.cat([weights[f"kernel_{kernel}"] for kernel in self.kernels], dim=1)
        shares = gate[:, : len(self.kernels)] @ spread  # N,Σk
        return (streams * shares) @ places  # N,k

    def _local(self, signal: Tensor, kernel: Tensor) -> Tensor:
        """Convolve each walk's signals with that walk's own kernel."""
        shifts = cast(Tensor, self.shifts)
        convolve = F.conv1d if self.axes == 1 else F.conv2d
        rows = signal.flatten(0, 1).unsqueeze(1)  # N·B,1,*D
        shifted = convolve(rows, shifts, padding=max(self.kernels) // 2)  # N·B,k,*D
        shifted = shifted.flatten(2).unflatten(0, signal.shape[:2])  # N,B,k,D
        mixed: Tensor = kernel[:, None, None, :] @ shifted  # N,B,1,D
        return mixed.reshape(signal.shape)

    @staticmethod
    def _global(code: Tensor, weights: dict[str, Tensor]) -> Tensor:
        hidden = F.leaky_relu(code @ weights["reduce"].transpose(1, 2))  # N,B,G/r
        return hidden @ weights["expand"].transpose(1, 2)  # N,B,G


class MetaTripleAttention(nn.Module):
    """Rescales features by channel, temporal and spatial attention at once.

    The maps of the dimensions in use are averaged ("simultaneously"; docs/model.md, decision 2).

    Args:
        channels: C.
        plane: H and W of the features, fixed by the input size.
        dimensions: which of `DIMENSIONS` are attended.
        kernels: sizes of the local streams, odd.
        reduction: r of Eq. 4.
        calibration: "meta" or "static" weights.
        gated: whether there is a soft aggregation gate; without it the streams are summed.
        bins: bins of the time axis for the temporal global stream.
        grid: cells of the plane for the spatial global stream.

    """

    def __init__(
        self,
        channels: int,
        plane: tuple[int, int],
        *,
        dimensions: tuple[str, ...] = DIMENSIONS,
        kernels: tuple[int, ...] = (1, 3, 5),
        reduction: int = 2,
        calibration: str = "meta",
        gated: bool = True,
        bins: int = 8,
        grid: tuple[int, int] = (8, 4),
    ) -> None:
        super().__init__()
        self.bins, self.grid = bins, grid
        sizes = {"channel": channels, "temporal": bins, "spatial": grid[0] * grid[1]}
        options = {"kernels": kernels, "reduction": reduction, "gated": gated}
        self.calibrations = nn.ModuleDict(
            {
                name: Calibration(sizes[name], axes=2 if name == "spatial" else 1, **options)  # type: ignore[arg-type]
                for name in dimensions
            }
        )
        self.weights = weight_source(calibration, channels, self._shapes())
        self.register_buffer("rows", fixed_overlaps(plane[0], grid[0]), persistent=False)
        self.register_buffer("columns", fixed_overlaps(plane[1], grid[1]), persistent=False)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Rescale `[N, C, T, H, W]`; frames beyond `lengths` (float `[N]`) become zero."""
        maps = self.attention_maps(features, lengths).values()
        # Mask and average the maps while they are small; the large features are touched only once.
        share = valid_steps(lengths, features.shape[2])[:, None, :, None, None] / len(maps)
        # In this order the small channel and temporal maps are added before the spatial one (H, W).
        return features * functools.reduce(torch.add, [share * one for one in maps])

    def attention_maps(self, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return each dimension's map, values in (0, 1), broadcastable to the features."""
        valid = valid_steps(lengths, features.shape[2])  # N,T
        frames = features.mean(dim=(3, 4)) * valid[:, None]  # N,C,T
        statistics = frames.sum(dim=2) / lengths[:, None]  # N,C   (Eq. 2)
        weights = _by_dimension(self.weights(statistics))
        maps = {}
        if "channel" in self.calibrations:
            maps["channel"] = self._channel(frames, statistics, weights["channel"])
        if "temporal" in self.calibrations:
            maps["temporal"] = self._temporal(frames, lengths, weights["temporal"])
        if "spatial" in self.calibrations:
            signal = _channel_mean(features) * valid[..., None, None]  # N,T,H,W
            maps["spatial"] = self._spatial(signal, lengths, weights["spatial"])
        return maps

    def _channel(self, frames: Tensor, statistics: Tensor, weights: dict[str, Tensor]) -> Tensor:
        signal = frames.transpose(1, 2)  # N,T,C
        local, broad = self.calibrations["channel"](signal, signal, statistics, weights)
        return torch.sigmoid(local + broad).transpose(1, 2)[..., None, None]  # N,C,T,1,1

    def _temporal(self, frames: Tensor, lengths: Tensor, weights: dict[str, Tensor]) -> Tensor:
        share = overlaps(lengths, frames.shape[2], self.bins)  # N,bins,T
        code = frames @ share.transpose(1, 2) * (self.bins / lengths)[:, None, None]  # N,C,bins
        local, broad = self.calibrations["temporal"](frames, code, code.mean(dim=1), weights)
        return torch.sigmoid(local + broad @ share)[..., None, None]  # N,C,T,1,1

    def _spatial(self, signal: Tensor, lengths: Tensor, weights: dict[str, Tensor]) -> Tensor:
        rows, columns = cast(Tensor, self.rows), cast(Tensor, self.columns)
        cell_area = rows.sum(dim=1)[0] * columns.sum(dim=1)[0]
        code = (rows @ signal @ columns.T).flatten(2) / cell_area  # N,T,cells
        statistics = code.sum(dim=1) / lengths[:, None]  # N,cells
        local, broad = self.calibrations["spatial"](signal, code, statistics, weights)
        spread = rows.T @ broad.unflatten(2, self.grid) @ columns  # N,T,H,W
        return torch.sigmoid(local + spread)[:, None]  # N,1,T,H,W

    def _shapes(self) -> Shapes:
        return {
            f"{name}/{key}": shape
            for name, calibrate in self.calibrations.items()
            for key, shape in cast(Calibration, calibrate).shapes.items()
        }


def _by_dimension(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group weights named "dimension/key" by dimension."""
    sorted_weights: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        dimension, key = name.split("/")
        sorted_weights.setdefault(dimension, {})[key] = weight
    return sorted_weights


def _channel_mean(features: Tensor) -> Tensor:
    """Average `[N, C, T, H, W]` over C to `[N, T, H, W]`.

    Written as a matrix product, with which runtimes read the memory in order.
    """
    channels = features.shape[1]
    total: Tensor = features.new_ones(1, channels) @ features.flatten(2)  # N,1,T·H·W
    mean: Tensor = total.unflatten(2, features.shape[2:])[:, 0] / channels
    return mean


def _places(kernel: int, largest: int, axes: int) -> Tensor:
    """Map each weight of a kernel to its place in the largest, both centred: `[kernel^axes, k]`."""
    margin = (largest - kernel) // 2
    single = torch.eye(largest)[margin : margin + kernel]
    return single if axes == 1 else torch.kron(single, single)


def _unit_kernels(size: int, axes: int) -> Tensor:
    """Return kernels that copy each neighbour into a channel of its own: `[k, 1, *size]`."""
    count = size**axes
    return torch.eye(count).reshape(count, 1, *(size,) * axes)
