"""Validation at the entrance of the gallery; the code behind it trusts every value."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.errors import (
    InvalidCapture,
    InvalidConsent,
    InvalidEmbedding,
    InvalidLimit,
    InvalidMetadata,
    InvalidSilhouettes,
    InvalidSubject,
)
from gallery.records import Consent

SUBJECT_MAX_CHARACTERS = 128
EMBEDDING_LARGEST = 65_504.0
"""Largest absolute value allowed in an embedding: the limit of half precision, in which the index
kind `gpu` stores it. Squared distances then stay far below the limit of float32, and below the
value by which `compact` marks an empty slot."""
METADATA_MAX_BYTES = 16 * 1024
METADATA_MAX_DEPTH = 64
"""How deeply objects and lists may be nested; JSON readers give up at some depth of their own."""


def check_subject(subject: str) -> None:
    """Refuse a subject id that could not be displayed, listed or stored unchanged.

    Raises:
        InvalidSubject: not 1..128 printable characters without a space at either end, or not in
            Unicode's composed form (NFC). With two spellings, one name would be two people, and
            erasing one would leave the other.

    """
    if not 1 <= len(subject) <= SUBJECT_MAX_CHARACTERS:
        raise InvalidSubject(
            f"expected a subject id of 1 to {SUBJECT_MAX_CHARACTERS} characters, "
            f"got {len(subject)} characters"
        )
    if not subject.isprintable() or subject != subject.strip():
        raise InvalidSubject(
            "expected a subject id of printable characters with no space at either end, "
            f"got {subject!a}"
        )
    if not unicodedata.is_normalized("NFC", subject):
        raise InvalidSubject(
            f"expected a subject id in Unicode's composed form (NFC), got {subject!a}"
        )


def check_particulars(
    subject: str,
    *,
    metadata: Mapping[str, Any] | None,
    captured_at: datetime | None,
    consent: Consent | None,
) -> None:
    """Check everything about an enrolment except the walk itself, before the walk is processed.

    Raises:
        InvalidInput: one of them is not as `Gallery.enroll` requires.

    """
    check_subject(subject)
    metadata_text(metadata)
    if captured_at is not None:
        check_captured_at(captured_at)
    if consent is not None:
        check_consent(consent)


def check_embedding(embedding: NDArray[np.float32], length: int) -> None:
    """Refuse an embedding that cannot be compared with the gallery's.

    Raises:
        InvalidEmbedding: not float32 `[length]`, or with a number that is too large or not finite.

    """
    if embedding.dtype != np.float32 or embedding.shape != (length,):
        raise InvalidEmbedding(
            f"expected an embedding float32 [{length}], "
            f"got {embedding.dtype} {list(embedding.shape)}"
        )
    if not are_comparable(embedding[np.newaxis]).all():
        raise InvalidEmbedding(f"expected an embedding {numbers_expected(embedding)}")


def are_comparable(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which of the embeddings float32 `[N, L]` every index can compare: bool `[N]`."""
    within = np.abs(embeddings) <= EMBEDDING_LARGEST  # false for NaN as well
    return np.asarray(within.all(axis=1))


def numbers_expected(embeddings: NDArray[np.float32]) -> str:
    """Return error text: which numbers are expected, and what `embeddings` has instead."""
    finite = np.isfinite(embeddings)
    largest = np.abs(embeddings[finite]).max(initial=0)
    count = int(np.count_nonzero(~finite))
    got = f"{count} that are NaN or infinite" if count else f"one of {largest:.3g}"
    return f"of finite numbers up to {EMBEDDING_LARGEST:g}, got {got}"


def check_silhouettes(silhouettes: NDArray[np.uint8]) -> None:
    """Refuse anything that is not an aligned walk.

    Raises:
        InvalidSilhouettes: not uint8 `[T, H, W]` with at least one frame and pixel.

    """
    if silhouettes.dtype != np.uint8 or silhouettes.ndim != 3 or 0 in silhouettes.shape:
        raise InvalidSilhouettes(
            "expected silhouettes uint8 [frames, height, width], none of them 0, "
            f"got {silhouettes.dtype} {list(silhouettes.shape)}"
        )


def check_limit(limit: int) -> None:
    """Refuse to search for fewer than one result.

    Raises:
        InvalidLimit: `limit` is below 1.

    """
    if limit < 1:
        raise InvalidLimit(f"expected a limit of 1 or more, got {limit}")


def check_consent(consent: Consent) -> None:
    """Refuse a consent with missing, overlong or ambiguous fields.

    Raises:
        InvalidConsent: the basis is not 1..64 printable characters, the reference is given but not
            1..256 printable ones, or the expiry has no time zone.

    """
    if not (1 <= len(consent.basis) <= 64 and consent.basis.isprintable()):
        raise InvalidConsent("expected a consent's basis of 1 to 64 printable characters")
    reference = consent.reference
    if reference is not None and not (1 <= len(reference) <= 256 and reference.isprintable()):
        raise InvalidConsent("expected a consent's reference of 1 to 256 printable characters")
    if consent.expires is not None and not _is_certain(consent.expires):
        raise InvalidConsent(
            "expected a consent that expires at a moment with a time zone, "
            f"got {consent.expires.isoformat()}"
        )


def check_captured_at(captured_at: datetime) -> None:
    """Refuse a capture time that does not denote a single moment.

    Raises:
        InvalidCapture: it has no time zone, or is out of range in UTC.

    """
    if not _is_certain(captured_at):
        raise InvalidCapture(
            f"expected a capture time with a time zone, got {captured_at.isoformat()}"
        )


def _is_certain(moment: datetime) -> bool:
    if moment.utcoffset() is None:
        return False
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def metadata_text(metadata: Mapping[str, Any] | None) -> str:
    """Return metadata as the JSON text that the store keeps.

    Raises:
        InvalidMetadata: not a JSON object, larger than 16 KiB as UTF-8, or nested too deeply.

    """
    given = {} if metadata is None else dict(metadata)
    try:
        text = json.dumps(given, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
        # json.dumps silently turns tuples into lists and numeric keys into strings.
        survives = json.loads(text) == given
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMetadata(
            f"expected metadata that is a JSON object with finite numbers, got: {error}"
        ) from error
    if not survives:
        raise InvalidMetadata("expected metadata that reads back from JSON as it was given")
    if size > METADATA_MAX_BYTES:
        raise InvalidMetadata(
            f"expected metadata of at most {METADATA_MAX_BYTES} bytes of JSON, got {size} bytes"
        )
    _check_depth(given)
    return text


def _check_depth(metadata: Mapping[str, Any]) -> None:
    level: list[Any] = [metadata]
    for _ in range(METADATA_MAX_DEPTH):
        level = [inner for outer in level for inner in _within(outer)]
    if any(isinstance(value, Mapping | list) for value in level):
        raise InvalidMetadata(
            f"expected metadata of at most {METADATA_MAX_DEPTH} objects and lists within one "
            "another, got more"
        )


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
