"""Training losses (paper, Eq. 9): triplet plus cross-entropy, each computed part by part."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# The square root's slope at zero is infinite, so distances of identical walks are clamped above it.
_SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True)
class TripletLoss:
    """The triplet loss, with statistics for the training log."""

    loss: Tensor
    nonzero_share: Tensor
    """Share of triplets that still violate the margin, 0..1."""
    mean_distance: Tensor
    """Mean Euclidean distance between embeddings of different walks, per part."""


def pairwise_distances(embedding: Tensor) -> Tensor:
    """Return the Euclidean distances of all pairs, part by part: `[N, P, D]` to `[P, N, N]`."""
    parts = embedding.transpose(0, 1).float()  # P,N,D
    squares = (parts * parts).sum(dim=2)
    product = parts @ parts.transpose(1, 2)
    squared = squares[:, :, None] + squares[:, None, :] - 2 * product
    return squared.clamp(min=_SMALLEST_SQUARE).sqrt()


def triplet_loss(embedding: Tensor, labels: Tensor, margin: float = 0.2) -> TripletLoss:
    """Compute batch-all triplet loss on Euclidean distance, averaged over violations, then parts.

    Args:
        embedding: `[N, P, D]`.
        labels: subject of each walk, integer `[N]`.
        margin: how much farther a stranger's walk must be than one's own.

    """
    distances = pairwise_distances(embedding)  # P,N,N
    same = labels[:, None] == labels[None, :]
    anchor, positive = (
        same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
    ).nonzero(as_tuple=True)
    gap = distances[:, anchor, positive, None] - distances[:, anchor]  # P,pairs,N
    violation = F.relu(gap + margin) * ~same[anchor]
    count = (violation > 0).sum(dim=(1, 2))  # P
    loss = violation.sum(dim=(1, 2)) / count.clamp(min=1)
    triplets = (~same[anchor]).sum().clamp(min=1) * len(distances)
    own = distances.diagonal(dim1=1, dim2=2)
    others = (distances.sum() - own.sum()) / max(1, distances.numel() - own.numel())
    return TripletLoss(loss.mean(), (count.sum() / triplets).detach(), others.detach())


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy over walks and parts: logits `[N, P, ids]`, labels `[N]`."""
    walks, parts, ids = logits.shape
    return F.cross_entropy(logits.reshape(walks * parts, ids), labels.repeat_interleave(parts))


def contrastive_loss(embedding: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Compute supervised contrastive loss on whole embeddings (Khosla et al., NeurIPS 2020, Eq. 2).

    This loss is not in the paper. The others look at one part at a time, but the gallery compares
    all parts together; this one trains for that comparison.

    Args:
        embedding: `[N, P, D]`, every part of length 1.
        labels: subject of each walk, integer `[N]`.
        temperature: divisor of the cosine similarities.

    """
    walks = F.normalize(embedding.float().flatten(1), dim=1)  # N,P*D
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels[None, :]) & ~itself
    similarity = (walks @ walks.T / temperature).masked_fill(itself, -torch.inf)
    likelihood = F.log_softmax(similarity, dim=1).masked_fill(~same, 0)
    return -(likelihood.sum(dim=1) / same.sum(dim=1).clamp(min=1)).mean()
