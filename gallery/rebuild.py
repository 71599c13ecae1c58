"""Rebuild: re-embed a gallery with another model next to the live generation, then switch to it.

The service keeps answering meanwhile. A rebuild that was killed is continued by the next one.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from gallery import next_generation
from gallery.audit import LOCAL
from gallery.calibration import is_calibrated
from gallery.checks import check_limit
from gallery.embedding import (
    Progress,
    Spread,
    WalkEncoder,
    embed_missing,
    embed_walks,
    require_size,
)
from gallery.generations import Head, Model
from gallery.self_search import check_self_search
from gallery.store import Store

REBUILD = "rebuild"


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild did."""

    generation: int
    model_id: str
    embedded: int
    """Samples embedded by this run; an earlier run that was killed may have done the others."""
    checked: int
    """Samples that were looked up in the new generation before the switch."""
    switched: bool
    """False if the model was live already."""
    leaves_calibration: bool = False
    """Whether the old generation was calibrated and the new one is not."""


def silent(_done: int, _total: int) -> None:
    """Report no progress: the default for `progress`."""


def always() -> None:
    """Never stop: the default for `checking` and `before_switch`, which stop by raising."""


def rebuild(
    store: Store,
    encoder: WalkEncoder,
    *,
    sha256: str | None = None,
    batch: int = 16,
    progress: Progress = silent,
    checking: Callable[[], None] = always,
    before_switch: Callable[[], None] = always,
    actor: str = LOCAL,
    is_alone: bool = False,
    spread: Spread | None = None,
) -> RebuildReport:
    """Embed every sample with the encoder's model, check the result, and make it live.

    Args:
        store: the gallery; others may enrol, identify and erase in it meanwhile.
        encoder: runs the new model, whose input size must be that of the stored silhouettes.
        sha256: of the model's file, if the data folder keeps it for a running service.
        batch: walks per call of the encoder.
        progress: called after each batch.
        checking: called repeatedly during the check, which takes minutes in a large gallery;
            raising from it keeps the live generation.
        before_switch: called once, before the switch begins; raising from it keeps the live
            generation.
        actor: who made the request: the id of an API key, or `local`.
        is_alone: whether the caller already ensures that nobody else rebuilds the gallery.
        spread: embeds instead of the encoder, except for the last few samples before the switch.

    Raises:
        InvalidLimit: `batch` is below 1.
        RebuildRefused: samples would be lost, as they have no silhouettes or some of another size
            than the model takes; or the gallery is already being rebuilt.
        RebuildFailed: the encoder's or the store's answer is wrong; the live generation stays.

    """
    check_limit(batch)
    model = Model(encoder.facts.model_id, encoder.facts.embedding_length)
    with nullcontext() if is_alone else store.database.alone(REBUILD, store.gallery_id):
        require_size(store, encoder.facts)
        generation = next_generation.begin(store, model, sha256)
        if next_generation.is_live(store, model):
            return RebuildReport(generation, model.model_id, 0, 0, switched=False)
        was_calibrated = is_calibrated(store)
        embedded = embed_missing(store, generation, encoder, batch, progress, spread=spread)
        checked = check_self_search(store, Head(generation, model, 0), checking)
        before_switch()
        embed, most = partial(embed_walks, encoder), batch
        while (
            last := next_generation.switch(store, generation, actor, embed=embed, most=most)
        ) is None:
            embedded += embed_missing(store, generation, encoder, batch, progress, spread=spread)
            most *= 2  # so that it ends, however fast people enrol
        embedded += last
    left = was_calibrated and not is_calibrated(store)
    return RebuildReport(generation, model.model_id, embedded, checked, True, left)
