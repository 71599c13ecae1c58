"""Losses against loops over the triplets and the parts."""

import math

import pytest
import torch
from torch.nn import functional as F

from model.losses import contrastive_loss, cross_entropy, pairwise_distances, triplet_loss


def naive_triplet(embedding: torch.Tensor, labels: list[int], margin: float) -> tuple[float, float]:
    total, active, triplets = 0.0, 0, 0
    parts = embedding.shape[1]
    for p in range(parts):
        terms = []
        for a in range(len(labels)):
            for b in range(len(labels)):
                for c in range(len(labels)):
                    if a == b or labels[a] != labels[b] or labels[a] == labels[c]:
                        continue
                    near = math.dist(embedding[a, p].tolist(), embedding[b, p].tolist())
                    far = math.dist(embedding[a, p].tolist(), embedding[c, p].tolist())
                    triplets += 1
                    if near - far + margin > 0:
                        terms.append(near - far + margin)
        active += len(terms)
        total += sum(terms) / len(terms) if terms else 0.0
    return total / parts, active / triplets


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2]])
def test_triplet_loss_is_batch_all_over_violations(labels: list[int]) -> None:
    torch.manual_seed(1)
    embedding = torch.rand(6, 3, 4)
    loss, active = naive_triplet(embedding, labels, 0.2)
    got = triplet_loss(embedding, torch.tensor(labels), 0.2)
    assert float(got.loss) == pytest.approx(loss, rel=1e-5)
    assert float(got.nonzero_share) == pytest.approx(active)


def test_triplet_loss_of_well_separated_subjects_is_zero() -> None:
    embedding = torch.tensor([[[0.0]], [[0.1]], [[5.0]], [[5.1]]])
    got = triplet_loss(embedding, torch.tensor([0, 0, 1, 1]), 0.2)
    assert float(got.loss) == 0
    assert float(got.nonzero_share) == 0


def test_identical_walks_give_a_finite_gradient() -> None:
    embedding = torch.zeros(4, 2, 3, requires_grad=True)
    triplet_loss(embedding, torch.tensor([0, 0, 1, 1]), 0.2).loss.backward()
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()


def test_the_mean_distance_is_that_of_different_walks() -> None:
    embedding = torch.tensor([[[0.0]], [[1.0]], [[5.0]]])
    got = triplet_loss(embedding, torch.tensor([0, 0, 1]))
    assert float(got.mean_distance) == pytest.approx((1 + 5 + 4) / 3)


def test_pairwise_distances_are_euclidean() -> None:
    embedding = torch.rand(5, 2, 7)
    got = pairwise_distances(embedding)
    for p in range(2):
        for a in range(5):
            for b in range(5):
                expected = math.dist(embedding[a, p].tolist(), embedding[b, p].tolist())
                assert float(got[p, a, b]) == pytest.approx(expected, abs=2e-3)


def test_cross_entropy_is_the_mean_over_walks_and_parts() -> None:
    logits, labels = torch.rand(3, 2, 4), [1, 0, 3]
    total = 0.0
    for n in range(3):
        for p in range(2):
            row = [math.exp(float(v)) for v in logits[n, p]]
            total -= math.log(row[labels[n]] / sum(row))
    assert float(cross_entropy(logits, torch.tensor(labels))) == pytest.approx(total / 6)


def test_contrastive_loss_is_the_naive_sum() -> None:
    embedding = F.normalize(torch.randn(6, 3, 5, generator=torch.manual_seed(4)), dim=2)
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    walks = embedding.flatten(1) / 3**0.5
    terms = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        total = sum(math.exp(float(walks[i] @ walks[j]) / 0.1) for j in others)
        own = [j for j in others if labels[j] == labels[i]]
        if own:
            shares = [math.exp(float(walks[i] @ walks[j]) / 0.1) / total for j in own]
            terms.append(-sum(math.log(share) for share in shares) / len(own))
    # The walk without another one of its subject has nothing to be drawn to.
    assert float(contrastive_loss(embedding, labels, 0.1)) == pytest.approx(
        sum(terms) / 6, rel=1e-5
    )


def test_contrastive_loss_has_finite_gradients_for_twins() -> None:
    embedding = F.normalize(torch.ones(4, 2, 3), dim=2).requires_grad_()
    contrastive_loss(embedding, torch.tensor([0, 0, 1, 1])).backward()
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()
