"""`metagait serve` as a real process, and `metagait keys`."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gallery import KeyStore, StoreUnavailable
from service import serve
from service.client import Client
from service.commands import keys
from service.errors import StartError
from tests.fakes import walker
from tests.processes import arguments, server_process, wait_until_ready


def test_serve_says_in_a_sentence_why_it_cannot_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(StartError, match="expected to listen on 127"):
            serve.run(arguments(serve, "--port", port, "--data", str(tmp_path)))
    missing = ("serve", "--port", "0", "--model", str(tmp_path / "none.onnx"))
    process = subprocess.run(
        [sys.executable, "-m", "metagait", *missing],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert len(process.stderr.strip().splitlines()) == 1
    assert "none.onnx" in process.stderr


def test_sigterm_ends_cleanly_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    with server_process(tmp_path) as (process, url), Client(url) as client:
        wait_until_ready(client)
        kept = client.enroll("ann", walker(10)).sample_id
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    with server_process(tmp_path) as (process, url), Client(url) as client:
        wait_until_ready(client)
        assert client.subject("ann").samples[0].sample_id == kept
        nearest = client.identify(walker(10)).candidates[0]
        assert nearest.sample_id == kept
        np.testing.assert_allclose(nearest.distance, 0, atol=1e-3)
        process.kill()
        process.wait()
    with server_process(tmp_path) as (_, url), Client(url) as client:
        wait_until_ready(client)
        assert client.identify(walker(10)).candidates[0].sample_id == kept


def test_keys_are_made_listed_and_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*given: str) -> str:
        assert keys.run(arguments(keys, *given, "--data", str(tmp_path))) == 0
        return capsys.readouterr().out

    with pytest.raises(StoreUnavailable, match=r"expected a store in the folder"):
        run("list")
    assert not list(tmp_path.iterdir())
    KeyStore.open(tmp_path).close()
    assert "no keys" in run("list")
    text = run("create", "gate", "--scopes", "identify,read", "--per-minute", "60",
               "--galleries", "main", "--expires-days", "90")  # fmt: skip
    # Nothing else is on standard output, so a file that it was written to is one for --key-file.
    assert len(text.splitlines()) == 1
    key_id, secret = text.strip().split("_")[1:]
    listed = run("list")
    assert f"{key_id}  live    gate: identify,read in main, 60 a minute, until" in listed
    assert secret not in listed
    assert "revoked" in run("revoke", key_id)
    assert f"{key_id}  revoked" in run("list")


def test_the_first_key_makes_a_store_only_in_a_folder_that_was_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METAGAIT_DATA", raising=False)
    create = ("create", "gate", "--scopes", "identify")
    with pytest.raises(StoreUnavailable, match=f"expected a store in the folder {tmp_path}/data"):
        keys.run(arguments(keys, *create))
    assert not list(tmp_path.iterdir())
    assert keys.run(arguments(keys, *create, "--data", "named")) == 0
    assert f"made a new store in {tmp_path}/named" in capsys.readouterr().err
    assert keys.run(arguments(keys, *create, "--data", "named")) == 0
    assert "made a new store" not in capsys.readouterr().err
    monkeypatch.setenv("METAGAIT_DATA", "from-environment")
    assert keys.run(arguments(keys, *create)) == 0
    assert (tmp_path / "from-environment" / "metagait.db").is_file()
    KeyStore.open(tmp_path / "data").close()
    monkeypatch.delenv("METAGAIT_DATA")
    assert keys.run(arguments(keys, *create)) == 0


@pytest.mark.parametrize("scopes", ["", "identify,fly", "ALL"])
def test_unknown_scopes_are_refused(scopes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(keys, "create", "gate", "--scopes", scopes)
    assert "expected scopes of identify,enroll" in capsys.readouterr().err
