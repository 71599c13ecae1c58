"""Layers that both networks share: the separate linear layers, the neck, and initialisation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SeparateLinear(nn.Module):
    """One linear layer per part, without bias ("separate FC")."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(parts, inputs, outputs).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """Map `[N, P, inputs]` to `[N, P, outputs]`."""
        return (features.transpose(0, 1) @ self.weight).transpose(0, 1)


class Neck(nn.BatchNorm1d):
    """Standardises each number of each part over the batch, then scales each part to unit length.

    It has no learnable parameters and its output has unit length. Otherwise the quickest way to a
    small triplet loss would be to shrink, or to push one walk of the batch far from all others.
    """

    def __init__(self, parts: int, dimensions: int) -> None:
        super().__init__(parts * dimensions, affine=False)

    def forward(self, parts: Tensor) -> Tensor:
        """Map `[N, P, D]` to float32 `[N, P, D]`; only here do the walks of a batch interact."""
        centred = super().forward(parts.flatten(1)).unflatten(1, parts.shape[1:])
        return F.normalize(centred.float(), dim=2)


class Classifier(nn.Module):
    """Identity logits for the cross-entropy loss; used in training only, not exported.

    Parts of unit length are too short for a sharp softmax, so they are scaled to the length that a
    standardised vector of their size has.
    """

    def __init__(self, parts: int, dimensions: int, ids: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimensions)
        self.separate = SeparateLinear(parts, dimensions, ids)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map `[N, P, D]` to logits `[N, P, ids]`."""
        logits: Tensor = self.separate(embedding * self.scale)
        return logits


def keep_variance(network: nn.Module) -> None:
    """Initialise the convolutions so that the signal keeps its variance through the trunk.

    torch's default shrinks the variance about sixfold per layer. After five layers in a row, what
    reaches the neck is too small compared with its epsilon (docs/experiments.md).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=0.01, nonlinearity="leaky_relu")
