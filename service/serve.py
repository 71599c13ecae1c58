"""`metagait serve`: start the service and run it until SIGTERM or Ctrl-C."""

import argparse
import faulthandler
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn

from gallery import ApiKey, KeyStore
from service.access import SCOPES
from service.app import create_app, open_encoder, open_gallery
from service.commands.numbers import whole
from service.connections import Patience, server_config
from service.draining import Draining
from service.errors import StartError
from service.keyring import is_loopback
from service.logs import log_json_lines
from service.settings import Settings, load_settings

# Seconds for what follows the last answer: a batch that nobody waits for, closing the gallery.
CLOSING_S = 15


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options that override the `METAGAIT_` environment."""
    parser.epilog = (
        "All other settings are environment variables named METAGAIT_…, as docs/settings.md lists "
        "them; an option wins over its variable. SIGTERM stops the service cleanly."
    )
    parser.add_argument(
        "--host", help="address to listen on (default: METAGAIT_HOST, or 127.0.0.1)"
    )
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        help="port to listen on; 0 takes a free one (default: METAGAIT_PORT, or 8000)",
    )
    parser.add_argument(
        "--data", type=Path, help="folder of the database (default: METAGAIT_DATA, or ./data)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="ONNX model file (default: METAGAIT_MODEL, or the shipped weights)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; whatever can fail at start fails before the first request."""
    settings = load_settings(
        host=arguments.host, port=arguments.port, data=arguments.data, model=arguments.model
    )
    log_json_lines()
    # A fault in native code ends the process at once; this at least says where.
    faulthandler.enable()
    with (
        only_service(settings),
        closing(listen(settings)) as listener,
        closing(open_encoder(settings)) as encoder,
        closing(open_gallery(settings, encoder.facts)) as gallery,
    ):
        require_keys(settings)
        draining = Draining()
        app = create_app(settings, encoder=encoder, gallery=gallery, draining=draining)
        logging.info(
            "metagait serves %s on %s, %s, %s at http://%s",
            encoder.facts.model_id,
            encoder.runtime.engine,
            encoder.runtime.provider,
            encoder.runtime.precision,
            address_of(settings.host, listener.getsockname()[1]),
        )
        patience = Patience(settings.max_connections, body_s=settings.upload_timeout_s)
        config = server_config(app, patience, drain_s=settings.drain_timeout_s)
        _serve(_Server(config, settings, draining), listener)
    faulthandler.cancel_dump_traceback_later()
    return 0


@contextmanager
def only_service(settings: Settings) -> Iterator[None]:
    """Be the only service on a data folder; a database by URL may have several.

    Raises:
        StartError: another service runs on the folder, or the folder cannot be used.

    """
    if not isinstance(settings.store(), Path):
        yield
        return
    with _opened_lock(settings.data) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"expected to be the only service on the folder {settings.data}, got another that "
                "runs on it: several services can share a PostgreSQL database (METAGAIT_DATABASE)"
            ) from error
        yield


def _opened_lock(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (folder / "service.lock").open("ab")
    except OSError as error:
        raise StartError(
            f"expected {folder} to be a folder for the gallery, got: {error.strerror}"
        ) from error


def require_keys(settings: Settings) -> None:
    """Create the first key if the settings ask for it; only loopback may do without a live one.

    Raises:
        StartError: the address is not loopback and no key is live, or the first cannot be written.

    """
    with closing(KeyStore.open(settings.store())) as store:
        keys = store.all()
        if not keys and settings.first_key_file is not None:
            _write_first_key(store, settings.first_key_file)
        elif not is_loopback(settings.host) and not any(k.is_live(datetime.now(UTC)) for k in keys):
            raise StartError(
                f"expected a live API key to listen on {settings.host}, got none: make one with "
                f"`metagait keys create NAME --scopes all --data {settings.data}`, or set "
                "METAGAIT_FIRST_KEY_FILE, or listen on 127.0.0.1"
            )


def _write_first_key(store: KeyStore, path: Path) -> None:
    try:
        # Create the file, new and readable by its owner only, before there is a key to write.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            key = _first_key(store, path, file)
    except OSError as error:
        raise StartError(
            f"expected to write the first key to a new file {path}, got: {error.strerror}"
        ) from error
    logging.info("made the first API key %s, of every scope, and wrote it to %s", key.key_id, path)


def _first_key(store: KeyStore, path: Path, file: IO[str]) -> ApiKey:
    """Create the key and write it to the file; on an error, neither stays, for another try."""

    def write(text: str) -> None:
        file.write(text + "\n")
        file.flush()

    try:
        key, _ = store.create("first", SCOPES, before_it_counts=write)
    except BaseException:
        path.unlink()
        raise
    return key


def listen(settings: Settings) -> socket.socket:
    """Bind the settings' address; raises StartError if it is not available."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "a name that no host can have"
        where = address_of(settings.host, settings.port)
        raise StartError(f"expected to listen on {where}, got: {why}") from error
    # asyncio does this only for sockets it makes itself; accepted ones inherit it. Without it, the
    # body of an answer would wait 40 ms for the caller to acknowledge its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(host: str, port: int) -> str:
    """Return an address as it stands in a URL, where colons of IPv6 are in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, with a grace period between SIGTERM and the closing of the listener."""

    def __init__(self, config: uvicorn.Config, settings: Settings, draining: Draining) -> None:
        super().__init__(config)
        self._settings = settings
        self._draining = draining
        self._leaves_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down; a second signal, or Ctrl-C, ends the grace period at once."""
        if sig == signal.SIGTERM and self._leaves_at is None:
            self._draining.begin()
            self._leaves_at = time.monotonic() + self._settings.shutdown_grace_s
            self._end_in_any_case()
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Check ten times a second whether the grace period is over."""
        if self._leaves_at is not None and time.monotonic() >= self._leaves_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def _end_in_any_case(self) -> None:
        """Make sure that the process ends in a limited time, even if something hangs."""
        limit_s = self._settings.shutdown_grace_s + self._settings.drain_timeout_s + CLOSING_S
        faulthandler.dump_traceback_later(limit_s, exit=True)


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run until a signal, even one that comes before uvicorn handles signals."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listener])
