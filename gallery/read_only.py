"""Opens a SQLite file in a folder that cannot be written, such as the mounted backup of a disk.

SQLite keeps a write-ahead log and a shared index of it beside the file, and makes them even to
read. If they cannot be made, it reads a file only under the promise that nobody changes it.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from gallery.errors import StoreUnavailable

Connect = Callable[..., sqlite3.Connection]
"""Listens to SQLAlchemy's event `do_connect`."""


def reader(name: str | None, timeout_s: float) -> Connect | None:
    """Return what opens a file for reading alone; None if its folder can be written.

    Raises:
        StoreUnavailable: part of the data is in a log that cannot be read there.

    """
    file = Path(name or "")
    if not file.is_file() or os.access(file.parent, os.W_OK, effective_ids=True):
        return None
    uri = f"file:{quote(os.fsencode(file.absolute()))}?{_how(file)}"
    return lambda *_: sqlite3.connect(uri, timeout_s, uri=True, check_same_thread=False)


def _how(file: Path) -> str:
    log, index = (file.with_name(f"{file.name}-{end}") for end in ("wal", "shm"))
    if log.is_file() and index.is_file():
        return "mode=ro"  # somebody may be writing, through a mount of their own
    if log.is_file() and log.stat().st_size:
        raise StoreUnavailable(
            f"expected {file} whole, or in a folder that can be written, got one with changes in "
            f"{log.name}: copy both to a folder that can be written, and name that one"
        )
    return "immutable=1"
