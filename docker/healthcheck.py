"""Exit 0 when the service in this container is ready for walks, and 1 when it is not.

Only the standard library, and no proxy: what is asked is the process next door.
"""

import http.client
import os
import sys

# Less than the time that the image gives one check.
_TIMEOUT_S = 4


def is_ready(port: int) -> bool:
    """Whether `/readyz` on this machine answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"expected an answer on port {port}, got: {error}", file=sys.stderr)
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(int(os.environ.get("METAGAIT_PORT", "8000"))) else 1)
