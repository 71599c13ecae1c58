"""What happens where request bodies have no room: the folder for temporary files may be full."""

import errno
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import BusyError

_LOG = logging.getLogger("metagait.service")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_for_bodies() -> Iterator[None]:
    """Write temporary files in the block.

    Raises:
        BusyError: there is no space left for them. It is free again when other bodies are done, or
            when whatever else has filled the folder is gone.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        folder = tempfile.gettempdir()
        _LOG.warning("expected room for a request body in %s, got: %s", folder, error.strerror)
        raise BusyError("no room is left to keep a body while it is worked on") from error
