"""Measure a decision threshold with the gallery's own samples, and keep it with its generation.

To measure how often a stranger would be named, every subject is searched for in the gallery of all
the others. Walks of one person resemble each other, so a subject counts as one independent search,
and an FPIR is promised only if there are at least 3 / FPIR subjects (rule of three).
"""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select

from gallery.audit import LOCAL, Entry, append
from gallery.errors import CalibrationRefused
from gallery.finding import moment_from
from gallery.generations import lock, now, read_head, record
from gallery.open_set import (
    Interval,
    Ranked,
    bootstrap,
    rate_shown,
    rule_of_three,
    searches_needed,
    share,
)
from gallery.schema import calibrations
from gallery.searches import Searches, search_itself
from gallery.settings import read_settings
from gallery.store import Store

CALIBRATED = "calibrated"
_LOG = logging.getLogger("metagait.gallery")
# Distances from the threshold up to the threshold for this multiple of the target are inconclusive.
_BAND = 3
_MOST_FPIR = 0.5
# Once the gallery has this many times the subjects it was measured with, a threshold is void.
_OUTGROWN = 1.5


@dataclass(frozen=True)
class Calibration:
    """Thresholds of a generation, and the rates that were measured with them."""

    created_at: str
    target_fpir: float
    threshold: float
    """A candidate at this distance or nearer is a match."""
    threshold_interval: Interval
    inconclusive_to: float
    """Beyond the threshold and up to here it is inconclusive: the threshold at 3 × the target."""
    fpir: float
    """Share of the non-mated searches whose nearest subject was at or below the threshold."""
    fpir_interval: Interval
    fnir: float | None
    """Share of the mated searches that missed; None if no subject has two samples."""
    fnir_interval: Interval | None
    subjects: int
    samples: int
    independent_searches: int
    """Number of subjects that were searched for in the gallery of the others."""
    nonmated_searches: int
    mated_searches: int
    aggregation: str

    def holds_for(self, subjects: int, aggregation: str) -> bool:
        """Tell whether it is still valid for a gallery of this size and aggregation."""
        return aggregation == self.aggregation and subjects <= _OUTGROWN * self.subjects


def calibrate(store: Store, target_fpir: float, actor: str = LOCAL) -> Calibration:
    """Calibrate the live generation, and store the result in place of an earlier one.

    Raises:
        CalibrationRefused: the target is not a valid rate, the gallery has too few subjects for it,
            or another generation went live meanwhile.

    """
    searches_needed(target_fpir)
    with store.database.reading() as connection:
        head = read_head(connection, store.gallery_id)
        settings = read_settings(connection, store.gallery_id)
        searches = search_itself(connection, head, settings.samples_of_a_subject)
    measured = measure(searches, target_fpir, settings.aggregation_in_words)
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        if read_head(connection, store.gallery_id).generation != head.generation:
            raise CalibrationRefused(
                f"expected generation {head.generation} to stay live while it is calibrated, got "
                "another one meanwhile: calibrate that one"
            )
        connection.execute(delete(calibrations).where(calibrations.c.generation == head.generation))
        row = {
            "generation": head.generation,
            "created_at": measured.created_at,
            "body": json.dumps(asdict(measured)),
        }
        connection.execute(insert(calibrations).values(row))
        # Recorded as a numbered change, so that every process re-reads it before its next answer.
        record(connection, store.gallery_id, CALIBRATED, [])
        entry = Entry("calibrate", "done", actor, head.generation)
        append(connection, store.gallery_id, [entry])
    return measured


def forget_calibration(store: Store, actor: str = LOCAL) -> bool:
    """Let the model's default decide again; False where the live generation was not calibrated."""
    with store.database.writing() as connection:
        lock(connection, store.gallery_id)
        head = read_head(connection, store.gallery_id)
        of_head = calibrations.c.generation == head.generation
        if not connection.execute(delete(calibrations).where(of_head)).rowcount:
            return False
        record(connection, store.gallery_id, CALIBRATED, [])
        append(
            connection,
            store.gallery_id,
            [Entry("calibrate", "forgotten", actor, head.generation)],
        )
    return True


def is_calibrated(store: Store) -> bool:
    """Tell whether the live generation has a threshold of its own."""
    with store.database.reading() as connection:
        head = read_head(connection, store.gallery_id)
        return read_calibration(connection, head.generation) is not None


def measure(searches: Searches, target_fpir: float, aggregation: str) -> Calibration:
    """Compute thresholds and error rates from a set of searches.

    Raises:
        CalibrationRefused: there are too few independent searches for the target, or more of them
            than it allows are at no distance from another subject.

    """
    independent = searches.independent
    _require_enough(searches, target_fpir)
    ranked = Ranked(searches.other)
    in_order = searches.subjects[ranked.order]
    threshold = ranked.threshold(target_fpir)
    named = ranked.distances <= threshold
    if not threshold:
        _require_none_at_zero(named, target_fpir)
    fpir = bootstrap(in_order, share(named))
    mated = searches.mated
    missed = searches.found > threshold
    return Calibration(
        created_at=now(),
        target_fpir=target_fpir,
        threshold=threshold,
        threshold_interval=bootstrap(
            in_order, lambda weights: ranked.thresholds(target_fpir, weights)
        ),
        inconclusive_to=ranked.threshold(max(target_fpir, min(_BAND * target_fpir, _MOST_FPIR))),
        fpir=float(named.mean()),
        fpir_interval=Interval(fpir.low, max(fpir.high, rule_of_three(independent))),
        fnir=float(missed.mean()) if mated.any() else None,
        fnir_interval=bootstrap(searches.subjects[mated], share(missed)) if mated.any() else None,
        subjects=searches.gallery_subjects,
        samples=searches.gallery_samples,
        independent_searches=independent,
        nonmated_searches=len(searches.other),
        mated_searches=int(mated.sum()),
        aggregation=aggregation,
    )


def _require_enough(searches: Searches, target_fpir: float) -> None:
    needed, independent = max(searches_needed(target_fpir), 2), searches.independent
    if independent >= needed:
        return
    if searches.gallery_subjects >= needed:  # only a subset is searched for
        raise CalibrationRefused(
            f"expected a target FPIR of {rate_shown(independent):g} or more, which the "
            f"{independent} subjects can show that are searched for at most, got {target_fpir:g}"
        )
    possible = f", which can show {rate_shown(independent):g}" if independent > 3 else ""
    raise CalibrationRefused(
        f"expected at least {needed} subjects to promise an FPIR of {target_fpir:g} "
        f"(3 / FPIR, as each subject is one independent search), got {independent}{possible}"
    )


def _require_none_at_zero(named: NDArray[np.bool_], target_fpir: float) -> None:
    """Refuse to promise a rate that even the least threshold exceeds."""
    if named.any():
        raise CalibrationRefused(
            f"expected at most {target_fpir:g} of the searches at distance 0 from another subject, "
            f"got {named.mean():.2g}: the same walks are enrolled under several names, of which "
            "every threshold names one"
        )


def read_calibration(connection: Connection, generation: int) -> Calibration | None:
    """Return the calibration of a generation; None if it has none, or none that can be read."""
    query = select(calibrations.c.body).where(calibrations.c.generation == generation)
    body = connection.scalar(query)
    if body is None:
        return None
    try:
        return _calibration(json.loads(body))
    except (ValueError, TypeError, LookupError, RecursionError):
        # No reason to answer nobody: the model's own threshold decides, as before a calibration.
        _LOG.warning(
            "the calibration of generation %d cannot be read, and does not count: calibrate again",
            generation,
        )
        return None


def _calibration(values: dict[str, Any]) -> Calibration:
    if moment_from(values["created_at"]) is None:
        raise ValueError("expected a moment, got other text")
    for name in ("threshold_interval", "fpir_interval", "fnir_interval"):
        values[name] = None if values[name] is None else Interval(*values[name])
    return Calibration(**values)
