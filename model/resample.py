"""Area resampling as a matrix product: any length to a fixed one, and back.

The paper's calibration networks have weights as long as the walk (W_t of 3×T) or as the picture.
Walks have any length, so those dimensions are first averaged into a fixed number of bins. Each bin
covers an equal share of the axis and takes from each step the part of it that lies inside. Steps
beyond a walk's own length lie in no bin, which is what keeps ragged batches exact.
"""

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Which of `steps` lie within each walk's length `[N]`: 1 or 0, float `[N, steps]`."""
    positions = torch.arange(steps, device=lengths.device)
    return (positions[None] < lengths[:, None]).to(lengths.dtype)


def overlaps(lengths: Tensor, steps: int, bins: int) -> Tensor:
    """How much of each step lies in each bin.

    Args:
        lengths: valid steps of each walk, float `[N]`, each at least 1.
        steps: columns of the answer, the padded length.
        bins: rows of the answer.

    Returns:
        Float `[N, bins, steps]`. A valid column sums to 1 and carries bins back to steps; rows
        divided by `length / bins` carry steps to bins.

    """
    width = (lengths / bins)[:, None, None]  # N,1,1
    left = torch.arange(bins, device=lengths.device, dtype=lengths.dtype)[None, :, None] * width
    start = torch.arange(steps, device=lengths.device, dtype=lengths.dtype)[None, None, :]
    stop = torch.minimum(start + 1, lengths[:, None, None])
    inside = torch.minimum(left + width, stop) - torch.maximum(left, start)
    return inside.clamp(min=0)  # N,bins,steps


def fixed_overlaps(steps: int, bins: int) -> Tensor:
    """`overlaps` for an axis whose length is known when the network is built: `[bins, steps]`."""
    return overlaps(torch.tensor([float(steps)]), steps, bins)[0]
