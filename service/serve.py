"""`metagait serve`: start the service and run it until SIGTERM or Ctrl-C."""

import argparse
import logging
import signal
import socket
from contextlib import closing
from pathlib import Path

import uvicorn

from service.app import create_app, open_encoder, open_gallery
from service.errors import StartError
from service.settings import Settings, load_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what goes before the `METAGAIT_` environment."""
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8000; 0: a free one)")
    parser.add_argument("--data", type=Path, help="folder of the gallery (default ./data)")
    parser.add_argument("--model", type=Path, help="ONNX model file (default: the shipped weights)")


def run(arguments: argparse.Namespace) -> int:
    """Serve; everything that can fail at start fails before the first request, in a sentence."""
    settings = load_settings(
        host=arguments.host, port=arguments.port, data=arguments.data, model=arguments.model
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with (
        closing(_listen(settings)) as listener,
        closing(open_encoder(settings)) as encoder,
        closing(open_gallery(settings, encoder.facts)) as gallery,
    ):
        app = create_app(settings, encoder=encoder, gallery=gallery)
        logging.info(
            "metagait serves %s on %s at http://%s:%d",
            encoder.facts.model_id,
            encoder.provider,
            settings.host,
            listener.getsockname()[1],
        )
        _serve(uvicorn.Server(_uvicorn_config(app, settings)), listener)
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise StartError(
            f"expected to listen on {settings.host}:{settings.port}, got: {error.strerror}"
        ) from error


def _uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        lifespan="on",
        # Paths hold subject ids, and those do not belong in a log.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run until a signal.

    uvicorn raises the signal again once it has drained, for the handler that stood before its own.
    By default that would kill the process before the gallery is closed.
    """

    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets=[listener])
