"""Give files their names so that a kill or a power cut leaves a whole file of that name or none."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

_HERE, _WITHOUT_REPLACING = -100, 1  # AT_FDCWD and RENAME_NOREPLACE, from Linux' rename(2)


def sync_folder(path: Path) -> None:
    """Sync the names in a folder to the disk; a file's own fsync covers only its content."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        # Some file systems report this for folders, which they cannot sync.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(folder)


def _rename_to_new(old: Path, new: Path) -> None:
    """Rename without replacing, by Linux' renameat2; Python has only os.rename, which replaces.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the file system does not support this kind of rename, for instance NFS.

    """
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    if renameat2(_HERE, os.fsencode(old), _HERE, os.fsencode(new), _WITHOUT_REPLACING):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))


def name_finished(
    partial: Path,
    path: Path,
    rename_to_new: Callable[[Path, Path], None] = _rename_to_new,
    link: Callable[[Path, Path], None] = os.link,
) -> None:
    """Give the finished file its final name, unless that name was taken in the meantime.

    This is a single step, so that being killed leaves either a whole file of that name or none: a
    rename, or a hard link (as on NFS). Some USB sticks and network shares support neither; there an
    empty file reserves the name first, and a kill between the two steps leaves just that.

    Raises:
        FileExistsError: the name was taken.

    """
    for name in (rename_to_new, link):
        try:
            name(partial, path)
        except FileExistsError:
            raise
        except OSError:
            continue
        return
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.replace(partial, path)
