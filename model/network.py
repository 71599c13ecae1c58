"""MetaGait, from leaf to whole: GaitGL's trunk, Meta Triple Attention, Meta Temporal Pooling.

Paper: Dou et al., ECCV 2022. The trunk (the "global and local backbone in [46]") is GaitGL, Lin et
al., ICCV 2021. docs/model.md says where each equation is implemented and what was decided where the
paper is silent.

Letters in shapes: N walks, T frames, H W pixels, C channels, P parts, D numbers per part. Frames
beyond a walk's own length are zero. Every layer that could write something into them is followed by
a mask, so an embedding does not depend on the rest of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import DIMENSIONS, MetaTripleAttention
from model.bounds import check_at_least
from model.errors import ConfigError
from model.layers import Neck, SeparateLinear, keep_variance
from model.pooling import METHODS, GeneralizedMean, MetaTemporalPooling

STAGES = ("a0", "a1", "b2")
SHORTEST = 3
"""Frames of the shortest walk that the trunk takes; a shorter one is repeated along time."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that determines the architecture. Defaults: the paper's CASIA-B network, 64×44."""

    kind: str = "metagait"
    size: tuple[int, int] = (64, 44)
    channels: tuple[int, int, int] = (32, 64, 128)
    dimensions: int = 128
    strips: int = 8
    attention: tuple[str, ...] = DIMENSIONS
    attention_stages: tuple[str, ...] = STAGES
    kernels: tuple[int, ...] = (1, 3, 5)
    reduction: int = 2
    calibration: str = "meta"
    gate: bool = True
    pooling: tuple[str, ...] = METHODS
    pooling_weights: str = "meta"
    time_bins: int = 8
    grid: tuple[int, int] = (8, 4)

    def __post_init__(self) -> None:
        """Reject combinations that no network can be built from."""
        numbers = ("size", "channels", "dimensions", "strips", "reduction", "time_bins", "grid")
        check_at_least(1, "network", self, *numbers)
        _expect("kind", (self.kind,), ("metagait",))
        _expect("attention", self.attention, DIMENSIONS)
        _expect("attention_stages", self.attention_stages, STAGES)
        _expect("pooling", self.pooling, METHODS)
        _expect("calibration", (self.calibration,), ("meta", "static"))
        _expect("pooling_weights", (self.pooling_weights,), ("meta", "static", "none"))
        if not self.pooling:
            raise ConfigError("network.pooling: expected at least one method, got none")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels) or not self.kernels:
            raise ConfigError(f"network.kernels: expected odd sizes, got {self.kernels}")
        if len(set(self.kernels)) != len(self.kernels):
            raise ConfigError(f"network.kernels: expected each size once, got {self.kernels}")
        if self.size[0] % (2 * self.strips) or self.size[1] % 2:
            raise ConfigError(
                f"network.size: expected a height divisible by {2 * self.strips} and an even "
                f"width, got {self.size}"
            )

    @property
    def parts(self) -> int:
        """P: one part per row of the last block, which joins global and local features."""
        return self.size[0]


class GlobalLocalConv(nn.Module):
    """3×3×3 convolution of the whole plane, beside one of each horizontal strip on its own.

    The strips share their weights and are padded separately, so nothing crosses their borders.
    `join` is "sum" (GaitGL's A blocks) or "concat" along height (its B block).
    """

    def __init__(self, inputs: int, outputs: int, *, strips: int, join: str) -> None:
        super().__init__()
        self.strips, self.join = strips, join
        self.whole = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.local = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map `[N, C, T, H, W]` to `[N, C', T, H, W]`; "concat" doubles the height."""
        whole = F.leaky_relu(self.whole(features))
        strips = features.unflatten(3, (self.strips, -1)).movedim(3, 1)  # N,S,C,T,H/S,W
        local = F.leaky_relu(self.local(strips.flatten(0, 1)))  # N·S,C',T,H/S,W
        local = local.unflatten(0, (-1, self.strips)).movedim(1, 3).flatten(3, 4)  # N,C',T,H,W
        return whole + local if self.join == "sum" else torch.cat([whole, local], dim=3)


class MetaGait(nn.Module):
    """The MetaGait network: silhouettes to embeddings."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.channels
        self.stem = nn.Conv3d(1, first, 3, padding=1, bias=False)
        self.compress = nn.Conv3d(first, first, (3, 1, 1), stride=(3, 1, 1), bias=False)
        strips = config.strips
        self.a0 = GlobalLocalConv(first, second, strips=strips, join="sum")
        self.a1 = GlobalLocalConv(second, third, strips=strips, join="sum")
        self.b2 = GlobalLocalConv(third, third, strips=strips, join="concat")
        half = (config.size[0] // 2, config.size[1] // 2)
        shapes = {
            "a0": (second, half),
            "a1": (third, half),
            "b2": (third, (config.size[0], half[1])),
        }
        used = config.attention_stages if config.attention else ()
        self.attend = nn.ModuleDict({stage: _attention(config, *shapes[stage]) for stage in used})
        self.pool_time = MetaTemporalPooling(
            third, methods=config.pooling, weighting=config.pooling_weights, bins=config.time_bins
        )
        self.pool_width = GeneralizedMean()
        self.head = SeparateLinear(config.parts, third, config.dimensions)
        self.neck = Neck(config.parts, config.dimensions)
        keep_variance(self)

    def forward(self, silhouettes: Tensor, lengths: Tensor) -> Tensor:
        """Embed walks.

        Args:
            silhouettes: uint8 `[N, T, H, W]`, 0 background to 255 body; frames at and beyond a
                walk's length may hold anything.
            lengths: int64 `[N]`, each at least 1 and at most T.

        Returns:
            float32 `[N, P, D]`, after the neck; each part has length 1.

        """
        embedding: Tensor = self.neck(self.forward_parts(silhouettes, lengths))
        return embedding

    def forward_parts(self, silhouettes: Tensor, lengths: Tensor) -> Tensor:
        """Return `[N, P, D]` before the neck, independent of the other walks in the batch."""
        features, steps = self.forward_features(silhouettes, lengths)
        rows = self.pool_width(self.pool_time(features, steps), 3).transpose(1, 2)  # N,P,C
        parts: Tensor = self.head(rows)  # N,P,D
        return parts

    def forward_features(self, silhouettes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features before temporal pooling `[N, C, T', P, W']`, and their lengths."""
        frames, lengths = _repeat_short(silhouettes, lengths)
        features = _masked(frames[:, None].float() / 255, lengths)  # N,1,T,H,W
        features = F.leaky_relu(self.stem(features))
        # No mask before `compress`: step t of the compressed walk reads only frames 3t to 3t+2.
        features = F.leaky_relu(self.compress(features))  # N,C,T/3,H,W
        steps = torch.div(lengths, 3, rounding_mode="floor")
        length = steps.to(features.dtype)
        features = F.max_pool3d(self.a0(_masked(features, steps)), (1, 2, 2))
        features = self._attended("a0", features, length)
        features = self._attended("a1", self.a1(features), length)
        features = self._attended("b2", self.b2(features), length)
        return features.contiguous(), length

    def channels_last(self) -> "MetaGait":
        """Give the convolutions the memory layout that is faster on a CPU; return the network."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return self

    def _attended(self, stage: str, features: Tensor, lengths: Tensor) -> Tensor:
        """Apply the stage's attention, if it has one; frames beyond the lengths become zero."""
        if stage not in self.attend:
            return _masked(features, lengths)
        attended: Tensor = self.attend[stage](features.contiguous(), lengths)
        return attended


def _attention(config: NetworkConfig, channels: int, plane: tuple[int, int]) -> MetaTripleAttention:
    return MetaTripleAttention(
        channels,
        plane,
        dimensions=config.attention,
        kernels=config.kernels,
        reduction=config.reduction,
        calibration=config.calibration,
        gated=config.gate,
        bins=config.time_bins,
        grid=config.grid,
    )


def _repeat_short(silhouettes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat every walk cyclically to T frames, at least `SHORTEST`, and return the new lengths."""
    walks, frames = silhouettes.shape[0], silhouettes.shape[1]
    padded = torch.sym_max(frames, SHORTEST)
    steps = torch.arange(padded, device=silhouettes.device)
    rows = torch.arange(walks, device=silhouettes.device)[:, None] * frames
    rows = rows + steps[None] % lengths[:, None]  # N,T
    repeated = silhouettes.flatten(0, 1)[rows.flatten()].unflatten(0, (walks, padded))
    return repeated, lengths.clamp(min=SHORTEST)


def _masked(features: Tensor, lengths: Tensor) -> Tensor:
    """Zero `[N, C, T, H, W]` from each walk's length on."""
    steps = torch.arange(features.shape[2], device=features.device)
    mask = (steps[None] < lengths[:, None]).to(features.dtype)
    return features * mask[:, None, :, None, None]


def _expect(key: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    wrong = [value for value in values if value not in known]
    if wrong or len(set(values)) != len(values):
        raise ConfigError(f"network.{key}: expected some of {known}, each once, got {values}")
