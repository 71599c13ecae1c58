"""What an engine must not do to the process and the machine that it runs on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import CPU, VINO, installed, tiny_file

DROPPED_ELSEWHERE = """
import os, signal, sys, threading
from model.encoder import EngineChoice, open_encoder

held = [open_encoder(sys.argv[1], EngineChoice(engine=sys.argv[2], provider="cpu", threads=1))]
dropping = threading.Thread(target=lambda: held.pop().close())
dropping.start()
dropping.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
"""
ENCODE = """
import os, sys
import numpy as np
from model.encoder import EngineChoice, open_encoder

encoder = open_encoder(sys.argv[1], EngineChoice(engine=sys.argv[2], provider="cpu", threads=1))
encoder.encode([np.full((3, 64, 44), 255, np.uint8)])
encoder.close()
print("encoded")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


@pytest.fixture(params=[CPU, VINO], ids=lambda choice: choice.engine)
def engine(request: pytest.FixtureRequest, model: Path) -> str:
    installed(request.param, model).close()
    return str(request.param.engine)


def _answer(code: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env=environment
    )
    assert not done.returncode, (done.returncode, done.stderr)
    return done.stdout


def test_a_signal_is_handled_after_another_thread_dropped_an_encoder(
    engine: str, model: Path
) -> None:
    assert _answer(DROPPED_ELSEWHERE, str(model), engine) == "handled\n"


def test_nothing_is_kept_of_what_was_encoded_to_be_sent_away(
    engine: str, model: Path, tmp_path: Path
) -> None:
    # Telemetry is off by itself where a continuous integration is recognised: be a plain machine.
    kept = {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"}
    plain = {name: value for name, value in os.environ.items() if name in kept}
    home = tmp_path / "home"
    home.mkdir()
    environment = plain | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    assert _answer(ENCODE, str(model), engine, environment=environment) == "encoded\n"
    assert not list(home.rglob("*"))
