"""Meta Hyper Network (paper, section 3.2): a walk's own statistics become weights.

Two sources of weights stand here behind one call, so that an attention or a pooling need not know
which it has: `MetaHyperNetwork` generates them from the walk (Eq. 3), `StaticWeights` has learned
them once for all walks, which is the "static" column of the paper's ablations (Tables 6 and 7).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each weight that a calibration network needs; the last number is its fan-in."""


class MetaHyperNetwork(nn.Module):
    """Generates the weights of a calibration network from the statistics `m` (Eq. 3).

    ``W_cali = δ(W_meta2 δ(W_meta1 m))`` with LeakyReLU δ. The second layer has a bias, which the
    equation does not print: it starts as static weights would, so that training begins with a
    working calibration network that the walk then bends (docs/model.md, decision 3).
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
        """Statistics `[N, C]` (Eq. 2) to named weights `[N, *shape]`."""
        hidden = F.leaky_relu(self.meta_1(statistics))
        flat = F.leaky_relu(self.meta_2(hidden))  # N, sum of all sizes
        return _cut(flat, self.shapes, self.sizes)

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the weights that every walk gets by a factor above 0."""
        self.meta_2.weight.mul_(factor)
        self.meta_2.bias.mul_(factor)


class StaticWeights(nn.Module):
    """The same weights for every walk: what the meta-knowledge is measured against."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        self.weights = nn.Parameter(_initial_weights(shapes))

    def forward(self, statistics: Tensor) -> dict[str, Tensor]:
        """Statistics `[N, C]`, of which only N is used, to named weights `[N, *shape]`."""
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
    """Return every weight source inside a network."""
    kinds = (MetaHyperNetwork, StaticWeights)
    return [module for module in network.modules() if isinstance(module, kinds)]


def _initial_weights(shapes: Shapes) -> Tensor:
    """Uniform in ±1/sqrt(fan-in), as a fresh linear layer or convolution has."""
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
