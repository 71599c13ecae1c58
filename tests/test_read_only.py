"""A store in a folder that cannot be written, as a mounted backup is: what reads it works."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gallery import KeyStore
from gallery.commands import audit, consent, settings
from gallery.connecting import FILE_NAME
from metagait import main
from service.commands import keys
from tests.galleries import embedding, open_gallery, walk

LOADED = (audit, consent, settings, keys)  # before others' folders are out of reach
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a gallery of one person; not in `tmp_path`, which is its owner's alone."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name) / "a ?#% b"
        with closing(open_gallery(folder)) as gallery:
            gallery.enroll("anna", embedding(1), silhouettes=walk(1))
        yield folder


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Keep the folder from being written; root may write any, so be somebody else."""
    is_root = os.geteuid() == 0
    for path in (folder.parent, folder, *folder.iterdir()):
        if is_root:
            os.chown(path, NOBODY, -1)
        path.chmod(0o555 if path.is_dir() else 0o444)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in (folder.parent, folder):
            path.chmod(0o755)


def test_what_reads_it_works_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / FILE_NAME).read_bytes()
    with unwritable(folder):
        for command in ("gallery", "gallery --list", "audit verify", "audit export", "consent",
                        "keys list"):  # fmt: skip
            assert main([*command.split(), "--data", str(folder)]) == 0, command
    told = capsys.readouterr().out
    assert "main: 1 samples of 1 subjects" in told
    assert '"action": "enrol"' in told
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
    assert (folder / FILE_NAME).read_bytes() == before


def test_what_changes_it_says_that_it_cannot(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unwritable(folder):
        for command in ("gallery --set conflict=off", "gallery --make lab",
                        "keys create gate --scopes all"):  # fmt: skip
            assert main([*command.split(), "--data", str(folder)]) == 2
            assert "expected a database that can be written in" in capsys.readouterr().err


def test_what_another_process_writes_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_gallery(folder)) as gallery:
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
        with unwritable(folder):
            assert main(["gallery", "--list", "--data", str(folder)]) == 0
    assert "main: 2 samples of 2 subjects" in capsys.readouterr().out


def test_changes_that_are_in_the_log_alone_are_never_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_gallery(folder)) as gallery:
        gallery.enroll("ben", embedding(2), silhouettes=walk(2))
        copy = folder.with_name("copy")  # as a backup copies it that knows nothing of SQLite
        copy.mkdir()
        for end in ("", "-wal"):
            shutil.copy(folder / f"{FILE_NAME}{end}", copy)
    with unwritable(copy):
        assert main(["gallery", "--list", "--data", str(copy)]) == 2
    assert "got one with changes in metagait.db-wal: copy both" in capsys.readouterr().err
    assert main(["gallery", "--list", "--data", str(copy)]) == 0
    assert "main: 2 samples of 2 subjects" in capsys.readouterr().out


def test_a_folder_without_a_store_stays_without(folder: Path) -> None:
    (folder / FILE_NAME).unlink()
    with unwritable(folder):
        assert main(["gallery", "--data", str(folder)]) == 2
        assert not KeyStore.is_there(folder)
