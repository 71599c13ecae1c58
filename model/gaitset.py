"""GaitSet, a baseline that treats a walk as a set of frames, whose order does not matter.

Source: Chao et al., "GaitSet: Regarding Gait as a Set for Cross-View Gait Recognition", AAAI 2019.
It consists of set pooling (the maximum over the frames), a multilayer global pipeline that
convolves the pooled output of each stage, and horizontal pyramid pooling of both.

The neck and the unit length are this project's addition (docs/model.md, decision 8), so that the
baseline trains with the same loop, losses and learning rates as MetaGait; the original has neither.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.bounds import check_at_least
from model.errors import ConfigError
from model.layers import Neck, SeparateLinear, keep_variance


@dataclass(frozen=True)
class GaitSetConfig:
    """Everything that determines the architecture. Defaults: the paper's CASIA-B network, 64×44."""

    kind: str = "gaitset"
    size: tuple[int, int] = (64, 44)
    channels: tuple[int, int, int] = (32, 64, 128)
    dimensions: int = 256
    scales: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Strips of the plane at each level of the pyramid."""

    def __post_init__(self) -> None:
        """Reject combinations that no network can be built from."""
        check_at_least(1, "network", self, "size", "channels", "dimensions")
        if self.kind != "gaitset":
            raise ConfigError(f"network.kind: expected gaitset, got {self.kind!r}")
        rows, columns = self.size[0] // 4, self.size[1] // 4
        wrong = [scale for scale in self.scales if scale < 1 or rows % scale]
        if wrong or not self.scales:
            raise ConfigError(
                f"network.scales: expected divisors of {rows}, a quarter of the height, "
                f"got {self.scales}"
            )
        if (4 * rows, 4 * columns) != self.size or not columns:
            raise ConfigError(f"network.size: expected multiples of 4, got {self.size}")

    @property
    def parts(self) -> int:
        """P: each strip of each level, once from the frames and once from the global pipeline."""
        return 2 * sum(self.scales)


class GaitSet(nn.Module):
    """The GaitSet network: silhouettes to embeddings, called like `model.network.MetaGait`."""

    def __init__(self, config: GaitSetConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.channels
        self.frames = nn.ModuleList(
            [_pair(1, first, kernel=5), _pair(first, second), _pair(second, third)]
        )
        # The global pipeline has no stage of its own on the silhouettes themselves.
        self.sets = nn.ModuleList([_pair(first, second), _pair(second, third)])
        self.head = SeparateLinear(config.parts, third, config.dimensions)
        self.neck = Neck(config.parts, config.dimensions)
        keep_variance(self)

    def forward(self, silhouettes: Tensor, lengths: Tensor) -> Tensor:
        """Embed walks uint8 `[N, T, H, W]` with lengths int64 `[N]` as float32 `[N, P, D]`.

        Frames at and beyond a walk's length may hold anything; each part has length 1.
        """
        embedding: Tensor = self.neck(self.forward_parts(silhouettes, lengths))
        return embedding

    def forward_parts(self, silhouettes: Tensor, lengths: Tensor) -> Tensor:
        """Return `[N, P, D]` before the neck, independent of the other walks in the batch."""
        walks, steps = silhouettes.shape[0], silhouettes.shape[1]
        valid = torch.arange(steps, device=lengths.device)[None] < lengths[:, None]  # N,T
        features = silhouettes.flatten(0, 1)[:, None].float() / 255  # N·T,1,H,W
        pooled: list[Tensor] = []
        for stage, convolve in enumerate(self.frames):
            features = convolve(features)
            if stage < 2:
                features = F.max_pool2d(features, 2)  # N·T,C,H/2,W/2 then H/4,W/4
            pooled.append(set_maximum(features.unflatten(0, (walks, steps)), valid))
        broad = F.max_pool2d(self.sets[0](pooled[0]), 2)  # N,C,H/4,W/4
        broad = self.sets[1](broad + pooled[1])
        strips = [self._pyramid(pooled[2]), self._pyramid(pooled[2] + broad)]
        parts: Tensor = self.head(torch.cat(strips, dim=1))
        return parts

    def channels_last(self) -> "GaitSet":
        """Give the convolutions the memory layout that is faster on a CPU; return the network."""
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _pyramid(self, plane: Tensor) -> Tensor:
        """Add maximum and mean of each strip of each level: `[N, C, H, W]` to `[N, P/2, C]`."""
        levels = []
        for scale in self.config.scales:
            strips = plane.unflatten(2, (scale, -1)).flatten(3)  # N,C,scale,H/scale·W
            levels.append(strips.amax(dim=3) + strips.mean(dim=3))
        return torch.cat(levels, dim=2).transpose(1, 2)


def set_maximum(features: Tensor, valid: Tensor) -> Tensor:
    """Return the maximum over valid frames: `[N, T, C, H, W]`, bool `[N, T]` to `[N, C, H, W]`.

    Padding counts as the lowest representable number, because a body whose features are negative
    must not lose to it.
    """
    lowest = torch.finfo(features.dtype).min
    return features.masked_fill(~valid[:, :, None, None, None], lowest).amax(dim=1)


def _pair(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Build two convolutions without bias, each followed by LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.LeakyReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.LeakyReLU(),
    )
