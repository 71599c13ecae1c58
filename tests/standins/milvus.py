#!/opt/metagait/bin/python
"""`milvus run standalone`, stood in for by `milvus-lite server` with Milvus's ports and folder."""

import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER = "/var/lib/milvus/lite"
PORT, HEALTH_PORT = 19530, 9091


class Health(BaseHTTPRequestHandler):
    """200 to `/healthz` while the server takes connections."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" and _listens() else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing every ten seconds."""


def _listens() -> bool:
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> int:
    if sys.argv[1:] != ["run", "standalone"]:
        print(f"expected `milvus run standalone`, got {sys.argv[1:]}", file=sys.stderr)
        return 2
    health = ThreadingHTTPServer(("127.0.0.1", HEALTH_PORT), Health)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", FOLDER]
    server = subprocess.Popen([*command, "--port", str(PORT)])
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
