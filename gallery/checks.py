"""Checks at the door of the gallery; behind it every value is trusted."""

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
"""What a number of an embedding may be at most, or at least with a minus: what half precision, in
which the index kind `gpu` keeps it, can hold. Squared distances are then far from what float32
holds, and from what `compact` takes for an empty slot."""
METADATA_MAX_BYTES = 16 * 1024
METADATA_MAX_DEPTH = 64
"""Objects and lists within one another; what reads an answer gives up at some depth of its own."""


def check_subject(subject: str) -> None:
    """Refuse a subject id that could not be shown, listed or stored as it is.

    Raises:
        InvalidSubject: not 1..128 printable characters without a space at either end, or not in
            Unicode's composed form: in two spellings, one name would be two people, and erasing
            one would leave the other.

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
    """Refuse what an enrolment says beside its walk, which can be judged before the walk is.

    Raises:
        InvalidInput: one of them is not as `Gallery.enroll` wants it.

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
        InvalidEmbedding: not float32 `[length]`, or a number in it is too large or not finite.

    """
    if embedding.dtype != np.float32 or embedding.shape != (length,):
        raise InvalidEmbedding(
            f"expected an embedding float32 [{length}], "
            f"got {embedding.dtype} {list(embedding.shape)}"
        )
    if not are_comparable(embedding[np.newaxis]).all():
        raise InvalidEmbedding(f"expected an embedding {numbers_expected(embedding)}")


def are_comparable(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell of each of embeddings float32 `[N, L]` whether every index can compare it: `[N]`."""
    within = np.abs(embeddings) <= EMBEDDING_LARGEST  # which NaN is not
    return np.asarray(within.all(axis=1))


def numbers_expected(embeddings: NDArray[np.float32]) -> str:
    """Say of which numbers embeddings have to be, and which others there are in these."""
    finite = np.isfinite(embeddings)
    largest = np.abs(embeddings[finite]).max(initial=0)
    count = int(np.count_nonzero(~finite))
    got = f"{count} that are NaN or infinite" if count else f"one of {largest:.3g}"
    return f"of finite numbers up to {EMBEDDING_LARGEST:g}, got {got}"


def check_silhouettes(silhouettes: NDArray[np.uint8]) -> None:
    """Refuse what is not an aligned walk.

    Raises:
        InvalidSilhouettes: not uint8 `[T, H, W]` with at least one frame and pixel.

    """
    if silhouettes.dtype != np.uint8 or silhouettes.ndim != 3 or 0 in silhouettes.shape:
        raise InvalidSilhouettes(
            "expected silhouettes uint8 [frames, height, width], none of them 0, "
            f"got {silhouettes.dtype} {list(silhouettes.shape)}"
        )


def check_limit(limit: int) -> None:
    """Refuse to look for fewer than one result.

    Raises:
        InvalidLimit: `limit` is below 1.

    """
    if limit < 1:
        raise InvalidLimit(f"expected a limit of 1 or more, got {limit}")


def check_consent(consent: Consent) -> None:
    """Refuse a consent that says too little or too much.

    Raises:
        InvalidConsent: no basis of 1..64 printable characters, a reference of more than 256, or an
            expiry without a time zone.

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
    """Refuse a capture time that could be any of several moments.

    Raises:
        InvalidCapture: it has no time zone.

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
    """Write metadata as the JSON text that the store keeps.

    Raises:
        InvalidMetadata: not a JSON object, larger than 16 KiB as UTF-8, or nested too deeply.

    """
    given = {} if metadata is None else dict(metadata)
    try:
        text = json.dumps(given, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
        # json.dumps turns tuples into lists and numbers that are keys into strings, silently.
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
