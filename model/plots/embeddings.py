"""Draws the embedding space in two dimensions by t-SNE (paper, Fig. 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from model.errors import DatasetError
from model.plots.style import colour, drawing, without_frame
from model.protocols import Embeddings, Labels

SUBJECTS = 10
"""Number of people in the picture, as in the paper."""

_FEW = 200
# The marker of each kind of walk, by the start of its condition.
_MARKERS = {"nm": "o", "bg": "s", "cl": "^"}


@dataclass(frozen=True)
class Cloud:
    """Embeddings `[N, L]` of one method, with their labels."""

    name: str
    embeddings: Embeddings
    labels: Labels


def draw_tsne(clouds: Sequence[Cloud]) -> Figure:
    """Draw each method's embeddings: colour shows the person, shape the kind of walk.

    Raises:
        DatasetError: there are too few samples for a picture.

    """
    with drawing(1, len(clouds), 0.9 + 7.0 / len(clouds)) as (figure, panels):
        for axes, cloud in zip(panels[0], clouds, strict=True):
            points = _flat(cloud.embeddings)
            for place, subject in enumerate(np.unique(cloud.labels.subjects)):
                own = cloud.labels.subjects == subject
                for prefix, marker in _markers(cloud.labels.conditions).items():
                    here = own & np.char.startswith(cloud.labels.conditions, prefix)
                    axes.scatter(
                        *points[here].T, s=9, marker=marker, color=_person(place), linewidths=0
                    )
            axes.set(title=cloud.name, xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
            without_frame(axes)
        handles = [
            panels[0, 0].scatter([], [], s=22, marker=marker, color="#555555")
            for marker in _markers(clouds[0].labels.conditions).values()
        ]
        names = [_NAMES.get(p, "any") for p in _markers(clouds[0].labels.conditions)]
        people = len(np.unique(clouds[0].labels.subjects))
        figure.legend(
            handles,
            names,
            title=f"{people} people, a colour each",
            loc="outside lower center",
            ncols=3,
        )
    return figure


_NAMES = {"nm": "normal", "bg": "with a bag", "cl": "in a coat", "": "any"}


def _markers(conditions: NDArray[np.str_]) -> dict[str, str]:
    """Return the marker for each start of a condition; a single one if they are not CASIA-B's."""
    there = {str(condition)[:2] for condition in conditions}
    return {p: m for p, m in _MARKERS.items() if p in there} if there <= {*_MARKERS} else {"": "o"}


def _person(place: int) -> str:
    more = ("#8c564b", "#17becf")
    return more[place - 8] if place in (8, 9) else colour(place)


def _flat(embeddings: Embeddings) -> NDArray[np.float64]:
    """Reduce `[N, L]` to `[N, 2]`, with the same result on every call."""
    count = len(embeddings)
    if count < 8:
        raise DatasetError(f"expected 8 samples or more for a t-SNE picture, got {count}")
    reduced = PCA(min(50, count, embeddings.shape[1]), random_state=0).fit_transform(embeddings)
    tsne = TSNE(
        perplexity=min(30.0, (count - 1) / 3),
        init="pca",
        # The approximation pays off only for many points; for few, its threads cost more.
        method="exact" if count <= _FEW else "barnes_hut",
        random_state=0,
    )
    points: NDArray[np.float64] = tsne.fit_transform(reduced)
    return points
