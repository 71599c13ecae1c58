"""Files in pieces: joined as they were cut, never damaged without a word."""

import json
from pathlib import Path

import pytest

from model.errors import ModelFileError
from model.pieces import LARGEST, in_pieces, read_pieces, remove_pieces, write_pieces

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "checkpoint.pt"
    write_pieces(CONTENT, written, largest=1000)
    return written


def pieces(path: Path) -> list[Path]:
    return sorted(path.parent.glob("checkpoint.pt.*.[0-9]*"))


def test_pieces_are_small_and_join_to_the_content(path: Path) -> None:
    assert LARGEST == 16 * 1024 * 1024
    assert [piece.stat().st_size for piece in pieces(path)] == [1000, 1000, 560]
    assert in_pieces(path)
    assert not path.exists()
    assert read_pieces(path) == CONTENT


def test_a_new_content_replaces_the_older_one(path: Path) -> None:
    write_pieces(b"new", path, largest=1000)
    assert read_pieces(path) == b"new"
    assert len(pieces(path)) == 1
    remove_pieces(path)
    assert list(path.parent.iterdir()) == []
    assert not in_pieces(path)


def test_an_interrupted_write_leaves_the_older_content(path: Path) -> None:
    former = path.with_name("checkpoint.pt.pieces.json").read_bytes()
    kept = {piece: piece.read_bytes() for piece in pieces(path)}
    write_pieces(b"new" * 500, path, largest=1000)
    # As if the program had ended before the list was replaced: both generations lie there.
    path.with_name("checkpoint.pt.pieces.json").write_bytes(former)
    for piece, content in kept.items():
        piece.write_bytes(content)
    assert read_pieces(path) == CONTENT


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_damaged_pieces_are_refused_by_name(path: Path, damage: str) -> None:
    piece = pieces(path)[1]
    if damage == "missing":
        piece.unlink()
    else:
        piece.write_bytes(b"\0" * (1000 if damage == "changed" else 10))
    with pytest.raises(ModelFileError, match=piece.name):
        read_pieces(path)


@pytest.mark.parametrize(
    "listing",
    [
        "{",
        "[]",
        '{"format": "metagait-pieces-1"}',
        '{"format": "metagait-pieces-1", "pieces": [{"name": "a"}]}',
        '{"format": "other", "pieces": []}',
        *(
            json.dumps(
                {
                    "format": "metagait-pieces-1",
                    "pieces": [{"name": name, "size": 1, "sha256": digest}],
                }
            )
            for name, digest in (
                ("../secret", "0"),
                ("checkpoint.pt.12345678.000/../../secret", "0"),
                ("", "0"),
                ("..", "0"),
                (5, "0"),
                ("checkpoint.pt.12345678.000", 0),
            )
        ),
    ],
)
def test_lists_that_are_none_are_refused(path: Path, listing: str) -> None:
    path.with_name("checkpoint.pt.pieces.json").write_text(listing)
    with pytest.raises(ModelFileError, match="list"):
        read_pieces(path)
