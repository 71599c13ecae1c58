"""Stores a file as pieces of at most 16 MiB, for places that accept no larger ones.

    checkpoint.pt.pieces.json       the list: name, size and SHA-256 of each piece
    checkpoint.pt.3f9c20ab.000 …    the pieces; the middle of the name is the content's digest

The pieces of the previous content stay until the new list is in place, so an interrupted write
leaves the previous content intact.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from model.errors import ModelFileError

LARGEST = 16 * 2**20
"""Maximum size of one piece, in bytes."""
FORMAT = "metagait-pieces-1"


@dataclass(frozen=True)
class Piece:
    """One entry of the list."""

    name: str
    size: int
    sha256: str


def write_pieces(content: bytes, path: Path, largest: int = LARGEST) -> None:
    """Write `content` beside `path` in pieces: all of them or, with the OSError, none."""
    generation = hashlib.sha256(content).hexdigest()[:8]
    pieces: list[Piece] = []
    new: list[Path] = []
    try:
        for number, start in enumerate(range(0, len(content), largest)):
            part = content[start : start + largest]
            place = path.with_name(f"{path.name}.{generation}.{number:03}")
            new += [] if place.exists() else [place]
            write_whole(part, place)
            pieces.append(Piece(place.name, len(part), hashlib.sha256(part).hexdigest()))
        listing = {"format": FORMAT, "pieces": [asdict(piece) for piece in pieces]}
        write_whole(json.dumps(listing, indent=1).encode(), _listing(path))
    except OSError:
        for place in new:
            place.unlink(missing_ok=True)
        raise
    _forget(path, kept={piece.name for piece in pieces})


def write_whole(content: bytes, path: Path) -> None:
    """Write a file whole or, with the OSError, not at all; an existing file is then kept."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_pieces(path: Path) -> bytes:
    """Join what `write_pieces` wrote for `path`.

    Raises:
        ModelFileError: the list cannot be read, or a piece is missing or was altered.

    """
    content = []
    for piece in _pieces(path):
        place = path.with_name(piece.name)
        try:
            part = place.read_bytes()
        except OSError as error:
            raise ModelFileError(f"expected a piece in {place}, got: {error}") from error
        if len(part) != piece.size or hashlib.sha256(part).hexdigest() != piece.sha256:
            raise ModelFileError(
                f"expected {piece.size} bytes with SHA-256 {piece.sha256[:12]}… in {place}, "
                f"got {len(part)} bytes that are damaged or of another checkpoint"
            )
        content.append(part)
    return b"".join(content)


def in_pieces(path: Path) -> bool:
    """Return whether there is a list of pieces for `path`."""
    return _listing(path).is_file()


def remove_pieces(path: Path) -> None:
    """Remove the list and all pieces of `path`, if there are any."""
    _listing(path).unlink(missing_ok=True)
    _forget(path, kept=set())


def _pieces(path: Path) -> list[Piece]:
    listing = _listing(path)
    try:
        content = json.loads(listing.read_bytes())
        pieces = [Piece(**entry) for entry in content["pieces"]]
        # A list may only name pieces beside it, never lead to other folders.
        right = content["format"] == FORMAT and all(
            Path(piece.name).name == piece.name
            and piece.name.startswith(f"{path.name}.")
            and isinstance(piece.sha256, str)
            for piece in pieces
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"expected a list of pieces in {listing}, got: {error!r}") from error
    if not right:
        raise ModelFileError(f"expected a list of format {FORMAT} in {listing}, got another one")
    return pieces


def _listing(path: Path) -> Path:
    return path.with_name(f"{path.name}.pieces.json")


def _forget(path: Path, kept: set[str]) -> None:
    for piece in path.parent.glob(f"{path.name}.????????.[0-9][0-9][0-9]"):
        if piece.name not in kept:
            piece.unlink(missing_ok=True)
