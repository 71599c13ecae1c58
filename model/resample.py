"""Area resampling as a matrix product: from any length to a fixed one, and back.

The weights of the paper's calibration networks are as long as the walk (W_t is 3×T) or as large as
the picture. Walks vary in length, so those dimensions are first averaged into a fixed number of
bins. Each bin covers an equal share of the axis, and takes from each step the part that lies inside
the bin. Steps beyond a walk's own length lie in no bin, which keeps ragged batches exact.
"""

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Mark which of `steps` lie within each walk's length `[N]`: 1 or 0, float `[N, steps]`."""
    positions = torch.arange(steps, device=lengths.device)
    return (positions[None] < lengths[:, None]).to(lengths.dtype)


def overlaps(lengths: Tensor, steps: int, bins: int) -> Tensor:
    """Return how much of each step lies in each bin.

    Args:
        lengths: valid steps of each walk, float `[N]`, each at least 1.
        steps: columns of the result, the padded length.
        bins: rows of the result.

    Returns:
        Float `[N, bins, steps]`. Each valid column sums to 1 and maps bins back to steps; rows
        divided by `length / bins` map steps to bins.

    """
    width = (lengths / bins)[:, None, None]  # N,1,1
    left = torch.arange(bins, device=lengths.device, dtype=lengths.dtype)[None, :, None] * width
    start = torch.arange(steps, device=lengths.device, dtype=lengths.dtype)[None, None, :]
    stop = torch.minimum(start + 1, lengths[:, None, None])
    inside = torch.minimum(left + width, stop) - torch.maximum(left, start)
    return inside.clamp(min=0)  # N,bins,steps


def fixed_overlaps(steps: int, bins: int) -> Tensor:
    """Return `overlaps` for an axis whose length is known at construction: `[bins, steps]`."""
    return overlaps(torch.tensor([float(steps)]), steps, bins)[0]
