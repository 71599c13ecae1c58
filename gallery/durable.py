"""Names of files that a power cut does not take back."""

import errno
import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk; a file's own fsync keeps its content alone."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        # So say file systems on which a folder is nothing that could be synced.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(folder)
