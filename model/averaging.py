"""Moving average of a network's weights, which is what a training exports.

While the learning rate is still high, the average of the last few hundred iterations recognises
better than any one of them, so a training that ends early loses little (Polyak and Juditsky, 1992).
"""

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class WeightAverage:
    """`average = decay * average + (1 - decay) * weights`, over parameters and buffers alike."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self.weights: Weights = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Add the network's weights after `iteration` (counted from 1) to the average.

        The decay rises from 0 over the first iterations, so that the random start is forgotten.
        """
        decay = min(self._decay, (iteration - 1) / (iteration + 9))
        for key, value in self._network.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, 1 - decay)
            else:
                self.weights[key].copy_(value)

    def load(self, weights: Weights) -> None:
        """Continue from an earlier average."""
        for key, value in weights.items():
            self.weights[key].copy_(value)
