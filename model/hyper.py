"""Meta Hyper Network (paper, section 3.2): generates weights from a walk's own statistics.

Two sources of weights share one call, so attention and pooling need not know which one they use:
`MetaHyperNetwork` generates the weights from the walk (Eq. 3), while `StaticWeights` learns one set
for all walks, the "static" column of the paper's ablations (Tables 6 and 7).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each weight of a calibration network; the last dimension is its fan-in."""


class MetaHyperNetwork(nn.Module):
    """Generates the weights of a calibration network from the statistics `m` (Eq. 3).

    ``W_cali = δ(W_meta2 δ(W_meta1 m))``, where δ is LeakyReLU. The second layer has a bias, which
    the equation does not show. It is initialised like static weights, so that training begins with
    a working calibration network, which the walk then adapts (docs/model.md, decision 3).
    """

    def __init__(self, channels: int, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        self.meta_1 = nn.Linear(channels, channels, bias=False)
        self.meta_2 = nn.Linear(channels, sum(self.sizes))
        with torch.no_grad():
            self.meta_2.weight.mul_(0.5)
            self.meta_2.bias.copy_(_initial_weights(shapes))

    def forward(self, statistics: Tensor) -> dict[str, Tensor]:
        """Map statistics `[N, C]` (Eq. 2) to named weights `[N, *shape]`."""
        hidden = F.leaky_relu(self.meta_1(statistics))
        flat = F.leaky_relu(self.meta_2(hidden))  # N, sum of all sizes
        return _cut(flat, self.shapes, self.sizes)

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the weights generated for every walk by a factor above 0."""
        self.meta_2.weight.mul_(factor)
        self.meta_2.bias.mul_(factor)


class StaticWeights(nn.Module):
    """The same weights for every walk: the baseline that meta-knowledge is compared with."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        self.weights = nn.Parameter(_initial_weights(shapes))

    def forward(self, statistics: Tensor) -> dict[str, Tensor]:
        """Return named weights `[N, *shape]`; of the statistics `[N, C]` only N is used."""
        flat = self.weights.expand(statistics.shape[0], -1)
        return _cut(flat, self.shapes, self.sizes)

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the weights by a factor."""
        self.weights.mul_(factor)


def weight_source(kind: str, channels: int, shapes: Shapes) -> nn.Module:
    """Build the weight source of `kind`, "meta" or "static"."""
    return MetaHyperNetwork(channels, shapes) if kind == "meta" else StaticWeights(shapes)


def weight_sources(network: nn.Module) -> list[MetaHyperNetwork | StaticWeights]:
    """Return all weight sources inside a network."""
    kinds = (MetaHyperNetwork, StaticWeights)
    return [module for module in network.modules() if isinstance(module, kinds)]


def _initial_weights(shapes: Shapes) -> Tensor:
    """Draw weights uniformly from ±1/sqrt(fan-in), as a new linear layer or convolution does."""
    pieces = []
    for shape in shapes.values():
        bound = 1 / math.sqrt(shape[-1])
        pieces.append(torch.empty(math.prod(shape)).uniform_(-bound, bound))
    return torch.cat(pieces)


def _cut(flat: Tensor, shapes: Shapes, sizes: list[int]) -> dict[str, Tensor]:
    pieces = flat.split(sizes, dim=1)
    return {
        name: piece.unflatten(1, shape)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }
