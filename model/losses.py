"""Training losses (paper, Eq. 9): triplet plus cross-entropy, each part by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# The root's slope at zero is infinite; distances of twins are clamped just above it.
_SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True)
class TripletLoss:
    """The loss and what a training log wants to know about it."""

    loss: Tensor
    nonzero_share: Tensor
    """Share of triplets that still violate the margin, 0..1."""
    mean_distance: Tensor
    """Mean Euclidean distance between embeddings of different walks, a part."""


def pairwise_distances(embedding: Tensor) -> Tensor:
    """Euclidean distances of all pairs, part by part: `[N, P, D]` to `[P, N, N]`."""
    parts = embedding.transpose(0, 1).float()  # P,N,D
    squares = (parts * parts).sum(dim=2)
    product = parts @ parts.transpose(1, 2)
    squared = squares[:, :, None] + squares[:, None, :] - 2 * product
    return squared.clamp(min=_SMALLEST_SQUARE).sqrt()


def triplet_loss(embedding: Tensor, labels: Tensor, margin: float = 0.2) -> TripletLoss:
    """Batch-all triplet loss on Euclidean distance, mean over violating triplets, then parts.

    Args:
        embedding: `[N, P, D]`.
        labels: subject of each walk, integer `[N]`.
        margin: by how much a stranger must be farther than one's own walk.

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
    """Mean cross-entropy over walks and parts: logits `[N, P, ids]`, labels `[N]`."""
    walks, parts, ids = logits.shape
    return F.cross_entropy(logits.reshape(walks * parts, ids), labels.repeat_interleave(parts))


def contrastive_loss(embedding: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss of whole embeddings (Khosla et al., NeurIPS 2020, Eq. 2).

    Not in the paper. The other losses look at one part at a time, the gallery at all of them
    together; this one learns what the gallery asks.

    Args:
        embedding: `[N, P, D]`, every part of length 1.
        labels: subject of each walk, integer `[N]`.
        temperature: what the cosine similarities are divided by.

    """
    walks = F.normalize(embedding.float().flatten(1), dim=1)  # N,P*D
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = (labels[:, None] == labels[None, :]) & ~itself
    similarity = (walks @ walks.T / temperature).masked_fill(itself, -torch.inf)
    likelihood = F.log_softmax(similarity, dim=1).masked_fill(~same, 0)
    return -(likelihood.sum(dim=1) / same.sum(dim=1).clamp(min=1)).mean()
