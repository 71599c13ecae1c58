"""The options that locate a gallery; their defaults are the variables of `metagait serve`."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gallery.ciphers import MasterKey
from gallery.connecting import FILE_NAME
from gallery.database import Database
from gallery.errors import StoreUnavailable
from gallery.galleries import Galleries
from gallery.master_keys import read_master_key
from gallery.model_files import ModelFiles
from gallery.preparing import open_prepared
from gallery.store import Store

_DATA, _DATABASE, _GALLERY = "METAGAIT_DATA", "METAGAIT_DATABASE", "METAGAIT_GALLERY"
_MASTER_KEY_FILE = "METAGAIT_MASTER_KEY_FILE"
_DATABASE_FILE = "METAGAIT_DATABASE_FILE"
_MAIN = "main"


class Place(NamedTuple):
    """A data folder, the database URL (None for SQLite in that folder), and a gallery."""

    data: Path
    database: str | None
    gallery: str
    master_key_file: Path | None

    @property
    def model_files(self) -> ModelFiles:
        """Return the model files kept in the data folder."""
        return ModelFiles.of(self.data)

    def open_existing(self) -> Store:
        """Open the gallery; never creates tables or a gallery.

        Raises:
            GalleryNotFound: the store has no gallery of that name.
            StoreUnavailable: there is no store, or it cannot be opened.
            WrongMasterKey: it is encrypted under a different master key from the one given.

        """
        return Store.open(self._existing(), self.gallery, master_key=self._master_key(), make=False)

    def open_galleries(self) -> Galleries:
        """Open the store for all its galleries; raises the errors of `open_database`."""
        return Galleries.open(self._existing(), master_key=self._master_key(), make=False)

    def open_database(self) -> Database:
        """Open the whole store, whatever its galleries; never creates tables.

        Raises:
            StoreUnavailable: there is no store, or it cannot be opened.
            WrongMasterKey: it is encrypted under a different master key from the one given.

        """
        return open_prepared(self._existing(), master_key=self._master_key(), make=False)

    @property
    def location(self) -> str | Path:
        """Return where the store is: a URL, or a folder.

        Raises:
            StoreUnavailable: the database is named by something else than a URL.

        """
        if self.database is None:
            return self.data
        if "://" not in self.database:
            raise StoreUnavailable(
                "expected a database as a URL, such as postgresql+psycopg://…, got something else: "
                "a folder is named with --data"
            )
        return self.database

    def _existing(self) -> str | Path:
        if self.database is not None:
            return self.location
        file = self.data / FILE_NAME
        try:
            is_there = file.is_file()
        except OSError as error:
            raise StoreUnavailable(f"expected to find {file}, got: {error.strerror}") from error
        if not is_there:
            raise StoreUnavailable(
                f"expected a gallery in the folder {self.data}, got no {FILE_NAME} there"
            )
        return self.data

    def _master_key(self) -> MasterKey | None:
        key_file = self.master_key_file
        return None if key_file is None else read_master_key(key_file)


def count(text: str) -> int:
    """Parse an argument that must be a whole number of 1 or more."""
    if not (text.isascii() and text.isdecimal() and int(text[:18]) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text[:40]!r}")
    return int(text[:18])


def configure_place(
    parser: argparse.ArgumentParser, *, gallery: bool = True, master_key: bool = True
) -> None:
    """Add `--data` and `--database`, and `--gallery` and `--master-key-file` if they have a use."""
    environ = os.environ
    parser.add_argument(
        "--data",
        default=environ.get(_DATA, "data"),
        help=f"the service's data folder (default: {_DATA}, or ./data)",
    )
    parser.add_argument(
        "--database",
        default=environ.get(_DATABASE) or None,
        help=f"URL of a PostgreSQL database (default: {_DATABASE}, or SQLite in the data folder)",
    )
    parser.set_defaults(gallery=_MAIN, master_key_file=None)
    if gallery:
        _configure_gallery(parser)
    if master_key:
        parser.add_argument(
            "--master-key-file",
            default=environ.get(_MASTER_KEY_FILE) or None,
            help="file with the master key, if the store is encrypted (default: "
            f"{_MASTER_KEY_FILE})",
        )


def _configure_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gallery",
        default=os.environ.get(_GALLERY, _MAIN),
        help=f"name of the gallery (default: {_GALLERY}, or {_MAIN})",
    )


def _database(given: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the URL from METAGAIT_DATABASE_FILE, unless the command line gave another one."""
    file = environ.get(_DATABASE_FILE)
    if not file or given != (environ.get(_DATABASE) or None):
        return given
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise StoreUnavailable(
            f"{_DATABASE_FILE}: expected a database URL in {file}, got: {error.strerror}"
        ) from error


def place_of(arguments: argparse.Namespace) -> Place:
    """Read the options that `configure_place` added.

    Raises:
        StoreUnavailable: the file that should hold the database URL cannot be read.

    """
    key_file = arguments.master_key_file
    return Place(
        data=Path(arguments.data),
        database=_database(arguments.database, os.environ),
        gallery=arguments.gallery,
        master_key_file=None if key_file is None else Path(key_file),
    )
