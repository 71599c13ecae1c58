"""Pooling over time and width: Meta Temporal Pooling (paper, section 3.4) and GeM."""

from typing import cast

import torch
from torch import Tensor, nn

from model.hyper import weight_source
from model.resample import overlaps

METHODS = ("mean", "max", "gem")

_INITIAL_EXPONENT = 6.5
_SMALLEST = 1e-4


class GeneralizedMean(nn.Module):
    """GeM pooling, ``mean(x^p)^(1/p)`` with a learnable p (Eq. 6c, as Radenović et al. write it).

    Values are clamped to at least 1e-4: with p = 6.5, the customary 1e-6 becomes 1e-39, a denormal
    number, on which processors are slow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(_INITIAL_EXPONENT))

    def forward(self, features: Tensor, dim: int, mask: Tensor | None = None) -> Tensor:
        """Pool over `dim`; `mask` (1 counts, 0 does not) is broadcast to the features."""
        # exp(p log x) rather than x^p: the same result, and several times faster on a CPU.
        powers = (features.clamp(min=_SMALLEST).log() * self.exponent).exp()
        if mask is None:
            mean = powers.mean(dim=dim)
        else:
            mean = (powers * mask).sum(dim=dim) / mask.sum(dim=dim)
        return (mean.clamp(min=1e-37).log() / self.exponent).exp()


class MetaTemporalPooling(nn.Module):
    """Weighted sum of mean, max and GeM over time (Eq. 7 and 8).

    The weighting network ``β = σ(W_t · GAP(f))`` sees how the walk develops over time, averaged
    over channels and plane. W_t has one column per frame, but walks vary in length, so the time
    axis is resampled to a fixed number of bins (docs/model.md, decision 4).

    Args:
        channels: C.
        methods: which of `METHODS` are pooled.
        weighting: "meta" or "static" W_t, or "none" for the plain sum of the methods.
        bins: columns of W_t.

    """

    def __init__(
        self,
        channels: int,
        *,
        methods: tuple[str, ...] = METHODS,
        weighting: str = "meta",
        bins: int = 8,
    ) -> None:
        super().__init__()
        self.methods, self.bins = methods, bins
        self.gem = GeneralizedMean() if "gem" in methods else None
        shapes = {"time": (len(methods), bins)}
        self.weights = None if weighting == "none" else weight_source(weighting, channels, shapes)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Pool `[N, C, T, H, W]`, zero beyond `lengths` (float `[N]`), to `[N, C, H, W]`."""
        steps = torch.arange(features.shape[2], device=features.device)
        mask = (steps[None] < lengths[:, None]).to(features.dtype)[:, None, :, None, None]
        pooled = torch.stack([self._pool(method, features, mask) for method in self.methods], dim=1)
        if self.weights is None:
            return pooled.sum(dim=1)
        shares = self.shares(features, lengths)  # N,M
        return (pooled * shares[:, :, None, None, None]).sum(dim=1)

    def shares(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return β of Eq. 7, one number per method: `[N, M]`."""
        frames = features.mean(dim=(3, 4))  # N,C,T
        weights = cast(nn.Module, self.weights)(frames.sum(dim=2) / lengths[:, None])["time"]
        course = frames.mean(dim=1, keepdim=True)  # N,1,T
        share = overlaps(lengths, course.shape[2], self.bins)  # N,bins,T
        binned = course @ share.transpose(1, 2) * (self.bins / lengths)[:, None, None]  # N,1,bins
        return torch.sigmoid(binned @ weights.transpose(1, 2))[:, 0]  # N,M

    def _pool(self, method: str, features: Tensor, mask: Tensor) -> Tensor:
        if method == "max":
            # Padded frames are zero and must not beat a body whose features are all negative.
            return (features - (1 - mask) * 1e4).amax(dim=2)
        if method == "mean":
            return features.sum(dim=2) / mask.sum(dim=2)
        return cast(Tensor, cast(nn.Module, self.gem)(features, 2, mask))
