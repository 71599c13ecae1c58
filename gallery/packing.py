"""Converts silhouettes and embeddings to bytes and back, and derives sample ids from content."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery.checks import are_comparable, numbers_expected
from gallery.errors import StoreUnavailable

# Stored with every packed walk, so that a later format can coexist with this one.
FORMAT = "zlib-uint8-1"
# Level 1 packs an aligned walk almost as small as level 9, in a fraction of the time.
_LEVEL = 1
_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True)
class PackedSilhouettes:
    """Losslessly packed silhouettes uint8 `[T, H, W]`: the shape, and the bytes in `FORMAT`."""

    shape: tuple[int, int, int]
    data: bytes
    format: str = FORMAT


def pack_silhouettes(silhouettes: NDArray[np.uint8]) -> PackedSilhouettes:
    """Pack silhouettes uint8 `[T, H, W]`."""
    frames, height, width = silhouettes.shape
    return PackedSilhouettes((frames, height, width), zlib.compress(silhouettes.tobytes(), _LEVEL))


def unpack_silhouettes(packed: PackedSilhouettes) -> NDArray[np.uint8]:
    """Unpack to uint8 `[T, H, W]`.

    Raises:
        StoreUnavailable: the bytes are damaged, or in a format that this version does not know.

    """
    if packed.format != FORMAT:
        raise StoreUnavailable(f"expected silhouettes packed as {FORMAT}, got {packed.format}")
    try:
        flat = np.frombuffer(zlib.decompress(packed.data), np.uint8)
        return flat.reshape(packed.shape)
    except (zlib.error, ValueError, TypeError) as error:
        raise StoreUnavailable(
            f"expected packed silhouettes of shape {list(packed.shape)}, "
            f"got {len(packed.data)} damaged bytes: {error}"
        ) from error


def pack_embedding(embedding: NDArray[np.float32]) -> bytes:
    """Return float32 `[L]` as little-endian bytes, whatever the machine's byte order."""
    return embedding.astype(_FLOAT32, copy=False).tobytes()


def unpack_embeddings(
    blobs: Sequence[bytes], length: int
) -> tuple[NDArray[np.float32], dict[int, StoreUnavailable]]:
    """Unpack embeddings to float32 `[N, length]`, all at once, as a start reads every one.

    Returns:
        The embeddings, and errors by position for those without `length` comparable numbers.

    """
    wrong = {
        place: StoreUnavailable(
            f"expected a stored embedding of {4 * length} bytes, got {len(blob)} bytes"
        )
        for place, blob in enumerate(blobs)
        if len(blob) != 4 * length
    }
    blank = bytes(4 * length)
    whole = b"".join(blank if place in wrong else blob for place, blob in enumerate(blobs))
    flat = np.frombuffer(whole, _FLOAT32).astype(np.float32, copy=False)
    embeddings = flat.reshape(len(blobs), length)
    for place in np.flatnonzero(~are_comparable(embeddings)).tolist():
        expected = numbers_expected(embeddings[place])
        wrong[place] = StoreUnavailable(f"expected a stored embedding {expected}")
    return embeddings, wrong


def sample_id(subject: str, walk: NDArray[np.uint8] | NDArray[np.float32]) -> str:
    """Return the id of a subject's walk: 32 hex digits of a SHA-256 over both.

    The walk is identified by its silhouettes uint8 `[T, H, W]`. Its embedding float32 `[L]` is used
    only if there are none, because another model embeds the same walk differently.
    """
    is_silhouettes = walk.dtype == np.uint8
    content = walk if is_silhouettes else walk.astype(_FLOAT32, copy=False)
    kind = "silhouettes" if is_silhouettes else "embedding"
    # The subject comes before the walk, preceded by its length, so that no two inputs collide.
    name = subject.encode()
    digest = hashlib.sha256(f"{kind} {content.shape} {len(name)} ".encode())
    digest.update(name)
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()[:32]
