"""The `metagait` command itself: what it says of itself, and of what is not installed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import metagait
import model.walkers.command
from metagait import COMMANDS, main


def test_without_a_command_the_help_names_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr().err
    assert all(f"    {name}" in printed for name in COMMANDS)


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("metagait ")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    summary = COMMANDS[name][1]
    printed = " ".join(capsys.readouterr().out.split())
    assert summary[0].upper() + summary[1:] in printed


@pytest.mark.parametrize(("command", "package"), [("train", "torch"), ("export", "onnx")])
def test_a_package_that_is_not_installed_is_a_sentence(command: str, package: str) -> None:
    # None in sys.modules is what makes an import fail as that of a missing package does.
    code = f"import sys; sys.modules[{package!r}] = None; import metagait; "
    code += f"sys.exit(metagait.main([{command!r}, '--help']))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert f"expected the package '{package}'" in line
    assert "extra `train`" in line


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed_are_no_failure(tmp_path: Path, closed: str) -> None:
    create = f"{sys.executable} -m metagait keys create gate --scopes all --data {tmp_path / 'new'}"
    ended = subprocess.run(
        f"{create} {closed}", shell=True, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == (closed == "2>&-")
    assert "Traceback" not in ended.stderr
    assert main(["keys", "list", "--data", str(tmp_path / "new")]) == 0


def test_what_the_system_refuses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_arguments: object) -> int:
        raise OSError(28, "No space left on device", "/tmp/walks")

    monkeypatch.setattr(model.walkers.command, "run", full)
    assert main(["walkers", "--output", "out"]) == 2
    assert capsys.readouterr().err == (
        "metagait walkers: [Errno 28] No space left on device: '/tmp/walks'\n"
    )


def test_a_part_of_our_own_that_is_missing_is_no_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as missing:
        importlib.import_module("model.nowhere")
    with pytest.raises(ModuleNotFoundError):
        metagait._missing("train", missing.value)


@pytest.mark.parametrize("while_", ["importing", "running", "running what hides it"])
def test_an_interrupt_at_any_time_is_status_130_and_no_traceback(
    while_: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_argument: object) -> int:
        raise KeyboardInterrupt

    def hidden(_argument: object) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise AttributeError("module has no attribute") from None

    broken = {"importing": ("configure", interrupted), "running": ("run", interrupted)}
    monkeypatch.setattr(model.walkers.command, *broken.get(while_, ("run", hidden)))
    assert main(["walkers", "--output", "out"] if while_ != "importing" else ["walkers"]) == 130
    assert capsys.readouterr().err == ""
