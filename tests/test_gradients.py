"""Precision of training, and gradients that are not to be learned from."""

import math
from dataclasses import replace

import pytest
import torch

from model.checkpoint import weights_of
from model.dataset import Dataset
from model.errors import TrainingError
from model.network import MetaGait
from model.sampler import Sampler
from model.training import Training, computes_in_bfloat16
from tests.tiny import TINY, noise_dataset


@pytest.fixture
def dataset() -> Dataset:
    return noise_dataset()


def test_precision_is_as_asked() -> None:
    cpu = torch.device("cpu")
    assert computes_in_bfloat16("bfloat16", cpu, 30)
    assert not computes_in_bfloat16("float32", cpu, 30)


@pytest.mark.parametrize("frames", [3, 5, 6, 8, 9, 30])
def test_clips_with_two_steps_of_time_are_computed_in_float32(
    frames: int, dataset: Dataset
) -> None:
    sampler = replace(TINY.sampler, frames=frames)
    training = Training(replace(TINY, precision="bfloat16", sampler=sampler), dataset.subjects)
    assert isinstance(training.network, MetaGait)
    seen = set()
    convolution = training.network.a1.whole
    convolution.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    training.step(Sampler(dataset, sampler, 1).batch(0))
    assert seen == {torch.float32 if 6 <= frames < 9 else torch.bfloat16}


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_other_gradients_of_convolutions_are_right_in_bfloat16(steps: int) -> None:
    # What the rule above rests on. With two steps torch gives, on some processors, any number.
    torch.manual_seed(0)
    weight = torch.randn(32, 16, 3, 3, 3)
    features = torch.randn(4, 16, steps, 8, 44)

    def gradient(kind: torch.dtype) -> torch.Tensor:
        variable = weight.to(kind, copy=True).requires_grad_()
        result = torch.nn.functional.conv3d(features.to(kind), variable, padding=1)
        result.backward(torch.ones_like(result))
        assert variable.grad is not None
        return variable.grad.float()

    torch.testing.assert_close(
        gradient(torch.bfloat16), gradient(torch.float32), rtol=0.05, atol=2.0
    )


def test_a_gradient_that_is_no_number_changes_no_weight(dataset: Dataset) -> None:
    training = Training(TINY, dataset.subjects)
    training.network.stem.weight.register_hook(lambda gradient: gradient + math.inf)
    before = weights_of(training.network)
    with pytest.raises(TrainingError, match="expected a finite gradient in iteration 1, got inf"):
        training.step(Sampler(dataset, TINY.sampler, 1).batch(0))
    after = dict(training.network.named_parameters())
    assert all(torch.equal(before[name], weight) for name, weight in after.items())
    assert training.iteration == 0
