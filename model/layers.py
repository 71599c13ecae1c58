"""What every network here ends in and starts from: separate linear layers, the neck, weights."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SeparateLinear(nn.Module):
    """One linear layer a part, without bias ("separate FC")."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(parts, inputs, outputs).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """`[N, P, inputs]` to `[N, P, outputs]`."""
        return (features.transpose(0, 1) @ self.weight).transpose(0, 1)


class Neck(nn.BatchNorm1d):
    """Standardises each number of each part over the batch, then brings each part to length 1.

    Nothing learnable here, and unit length after it: otherwise the quickest way to a small triplet
    loss is to shrink, or to push one walk of the batch far away from all the others.
    """

    def __init__(self, parts: int, dimensions: int) -> None:
        super().__init__(parts * dimensions, affine=False)

    def forward(self, parts: Tensor) -> Tensor:
        """`[N, P, D]` to float32 `[N, P, D]`; the only place where walks of a batch meet."""
        centred = super().forward(parts.flatten(1)).unflatten(1, parts.shape[1:])
        return F.normalize(centred.float(), dim=2)


class Classifier(nn.Module):
    """Identity logits for the cross-entropy of training; not part of the exported model.

    Parts of unit length are too short for a sharp softmax; they are scaled to the length that a
    standardised vector of their size has.
    """

    def __init__(self, parts: int, dimensions: int, ids: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dimensions)
        self.separate = SeparateLinear(parts, dimensions, ids)

    def forward(self, embedding: Tensor) -> Tensor:
        """`[N, P, D]` to logits `[N, P, ids]`."""
        logits: Tensor = self.separate(embedding * self.scale)
        return logits


def keep_variance(network: nn.Module) -> None:
    """Start the convolutions so that the signal keeps its size through the trunk.

    torch's default shrinks its variance about sixfold a layer, and five stand in a row: what is
    left at the neck is too small beside its epsilon (docs/experiments.md).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=0.01, nonlinearity="leaky_relu")
