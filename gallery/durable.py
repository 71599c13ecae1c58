"""Make file names survive a power cut."""

import errno
import os
from pathlib import Path


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
