"""The standard closed-set protocols, for any embeddings and any distance. Uses numpy only.

CASIA-B (Yu et al., ICPR 2006, as GaitSet reports it): the gallery contains NM#1-4 of one view at a
time, the probes are NM#5-6, BG#1-2 and CL#1-2. OU-MVLP (Takemura et al., 2018): one of its two
sequences is the gallery, the other the probe. Every probe is searched in the gallery of each view.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.cross_view import CrossView
from model.errors import DatasetError
from model.ranking import Ranking, rank

Embeddings = NDArray[np.float32]
Text = NDArray[np.str_]
Measure = Callable[[Embeddings, Embeddings], NDArray[np.float32]]
"""Distances of two sets of embeddings: `[n, L]` and `[m, L]` to `[n, m]`; smaller is nearer."""

PROBES_AT_ONCE = 1024
"""Number of probes whose distances to the gallery of one view are in memory at once."""


@dataclass(frozen=True)
class Protocol:
    """Which conditions are enrolled, and which are searched, by the name of their table row."""

    name: str
    gallery: tuple[str, ...]
    probes: Mapping[str, tuple[str, ...]]
    sentence: str

    @property
    def conditions(self) -> tuple[str, ...]:
        """All conditions, enrolled and searched."""
        return (*self.gallery, *(c for conditions in self.probes.values() for c in conditions))


CASIA_B = Protocol(
    name="casia-b",
    gallery=("nm-01", "nm-02", "nm-03", "nm-04"),
    probes={"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")},
    sentence="CASIA-B protocol: gallery NM#1-4 one view at a time, identical views excluded.",
)
OUMVLP = Protocol(
    name="oumvlp",
    gallery=("01",),
    probes={"NM": ("00",)},
    sentence="OU-MVLP protocol: gallery sequence 01 one view at a time, probe sequence 00 as in "
    "the reference code, identical views excluded.",
)
OUMVLP_FIRST = Protocol(
    name="oumvlp-first",
    gallery=("00",),
    probes={"NM": ("01",)},
    sentence="OU-MVLP protocol: gallery sequence 00 one view at a time, the first as the paper "
    "writes, probe sequence 01, identical views excluded.",
)
PROTOCOLS = {protocol.name: protocol for protocol in (CASIA_B, OUMVLP, OUMVLP_FIRST)}


@dataclass(frozen=True)
class Labels:
    """Subject, condition and view of N samples, each text `[N]`."""

    subjects: Text
    conditions: Text
    views: Text

    @classmethod
    def of(cls, samples: Sequence[tuple[str, str, str]]) -> "Labels":
        """Collect labels from the (subject, condition, view) of each sample."""
        columns = zip(*samples, strict=True) if samples else ((), (), ())
        return cls(*(np.array(column, np.str_) for column in columns))

    def in_conditions(self, conditions: Sequence[str]) -> NDArray[np.bool_]:
        """Mark the samples recorded in one of these conditions: bool `[N]`."""
        return np.isin(self.conditions, np.array(conditions, np.str_))

    def where(self, kept: NDArray[np.bool_]) -> "Labels":
        """Return the labels of the samples where `kept` is true."""
        return Labels(self.subjects[kept], self.conditions[kept], self.views[kept])


def closed_set(
    measure: Measure, embeddings: Embeddings, labels: Labels, protocol: Protocol = CASIA_B
) -> dict[str, CrossView]:
    """Score embeddings `[N, L]` by a protocol.

    Samples in conditions that the protocol does not use are left out. Views are those found in the
    data: a missing one has no row and no column.

    Returns:
        Results by kind of probe, for the kinds that occur.

    Raises:
        DatasetError: there is no gallery sample, or no probe.

    """
    enrolled = labels.in_conditions(protocol.gallery)
    kinds = {k: labels.in_conditions(conditions) for k, conditions in protocol.probes.items()}
    if not enrolled.any() or not any(searched.any() for searched in kinds.values()):
        raise DatasetError(
            f"expected gallery samples in {', '.join(protocol.gallery)} and probes in others of "
            f"{', '.join(protocol.conditions)} for the protocol {protocol.name}, got samples in "
            f"{', '.join(np.unique(labels.conditions)) or 'no condition'}"
        )
    gallery = embeddings[enrolled]
    return {
        kind: cross_view(
            measure, embeddings[searched], labels.where(searched), gallery, labels.where(enrolled)
        )
        for kind, searched in kinds.items()
        if searched.any()
    }


def cross_view(
    measure: Measure, probes: Embeddings, asked: Labels, gallery: Embeddings, known: Labels
) -> CrossView:
    """Search every probe in the gallery of each view.

    `asked` labels the `probes` `[n, L]`, `known` the `gallery` `[m, L]`. Distances are computed for
    `PROBES_AT_ONCE` probes and one gallery view at a time, never as one matrix.
    """
    views = np.union1d(asked.views, known.views)
    columns = []
    for view in views:
        here = known.views == view
        columns.append(
            _ranked(measure, probes, asked.subjects, gallery[here], known.subjects[here])
        )
    return CrossView(
        views=tuple(str(view) for view in views),
        subjects=asked.subjects,
        probe_views=np.searchsorted(views, asked.views),
        rank=np.stack([column.rank for column in columns], axis=1),
        average_precision=np.stack([column.average_precision for column in columns], axis=1),
        inverse_negative_penalty=np.stack(
            [column.inverse_negative_penalty for column in columns], axis=1
        ),
    )


def _ranked(
    measure: Measure, probes: Embeddings, asked: Text, gallery: Embeddings, known: Text
) -> Ranking:
    """Rank the gallery of one view for all probes; all NaN if it is empty."""
    if not len(known):
        nothing = np.full(len(asked), np.nan)
        return Ranking(nothing, nothing, nothing)
    blocks = [
        rank(measure(probes[block], gallery), asked[block, None] == known[None])
        for block in _blocks(len(asked))
    ]
    return Ranking(
        np.concatenate([block.rank for block in blocks]),
        np.concatenate([block.average_precision for block in blocks]),
        np.concatenate([block.inverse_negative_penalty for block in blocks]),
    )


def _blocks(count: int) -> Iterator[slice]:
    return (slice(at, at + PROBES_AT_ONCE) for at in range(0, count, PROBES_AT_ONCE))
