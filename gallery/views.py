"""How the views of two walks relate, in degrees and in words.

A view is the angle between the walking direction and the camera, 0 to 360 degrees as in CASIA-B and
OU-MVLP. From behind, a silhouette looks like its mirror image from the front, and a body is nearly
its own mirror image. So an outline seen at v looks nearly the same at 180 - v, and nearly mirrored
at 360 - v and at 180 + v.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from gallery.finding import metadata_from
from gallery.schema import samples
from gallery.store import Store

_FULL, _HALF = 360.0, 180.0
_SAME = 9.0
"""Degrees within which two views count as the same: half the step between CASIA-B's cameras."""


@dataclass(frozen=True)
class ViewRelation:
    """The view of a candidate's sample in relation to the probe's."""

    probe: float
    sample: float
    difference: float
    """Degrees between the two, 0 to 180."""
    nearest_equivalent: float
    """Degrees to the nearest view with nearly the same outline, mirrored or not, 0 to 90."""
    words: str


def view_of(metadata: Mapping[str, Any]) -> float | None:
    """Return the `view` in metadata, a number or text, as degrees 0 to 360; None without one."""
    value = metadata.get("view")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        degrees = float(value)
    except (ValueError, OverflowError):  # an integer may exceed the range of float
        return None
    return degrees % _FULL if math.isfinite(degrees) else None


def views_of(store: Store, sample_ids: Sequence[str]) -> dict[str, float]:
    """Return the views, in degrees, of those samples whose readable metadata contain one."""
    query: Select[Any] = select(samples.c.sample_id, samples.c.metadata).where(
        samples.c.gallery == store.gallery_id, samples.c.sample_id.in_(sample_ids)
    )
    with store.database.reading() as connection:
        found = {
            row.sample_id: view_of(metadata_from(row) or {}) for row in connection.execute(query)
        }
    return {sample_id: view for sample_id, view in found.items() if view is not None}


def relation(probe: float, sample: float) -> ViewRelation:
    """Relate two views, given in degrees."""
    difference = _apart(probe, sample)
    plain = min(difference, _apart(probe, _HALF - sample))
    mirrored = min(_apart(probe, -sample), _apart(probe, sample + _HALF))
    equivalent = min(plain, mirrored)
    return ViewRelation(
        probe=probe,
        sample=sample,
        difference=difference,
        nearest_equivalent=equivalent,
        words=_words(difference, plain, mirrored),
    )


def _words(difference: float, plain: float, mirrored: float) -> str:
    if difference <= _SAME:
        return "seen from the same side"
    if plain <= _SAME:
        return "seen from the opposite side along the walk, with nearly the same outline"
    if mirrored <= _SAME:
        return "seen from the other side, with nearly the mirrored outline"
    near = min(plain, mirrored)
    if near < difference:
        return f"{difference:g} degrees apart, {near:g} from an equivalent view"
    return f"{difference:g} degrees apart"


def _apart(one: float, other: float) -> float:
    turned = abs(one - other) % _FULL
    return min(turned, _FULL - turned)
