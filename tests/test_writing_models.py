"""Model files are written whole or not at all, and what cannot be written is said at the start."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import model.manifest
from metagait import main
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.errors import ExportError
from model.manifest import check_place, manifest_of, read_model, write_checked
from tests.engines import quantised_file, tiny_file


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


class CutOff(BaseException):
    """What ends a process in the middle, for instance Ctrl-C."""


def unchecked(_path: Path) -> None:
    pass


def cut_off_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let so many of the steps that reach the disk be taken, and no more."""
    left = steps

    def limited(work: Callable[..., object]) -> Callable[..., object]:
        def step(*given: object, **named: object) -> object:
            nonlocal left
            if not left:
                raise CutOff
            left -= 1
            return work(*given, **named)

        return step

    patch.setattr(Path, "touch", limited(Path.touch))
    patch.setattr(Path, "replace", limited(Path.replace))
    patch.setattr(os, "fsync", limited(os.fsync))


@pytest.mark.parametrize("before", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("steps", range(7))
def test_wherever_writing_is_cut_off_what_stands_there_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, before: bool
) -> None:
    path = tmp_path / "model.onnx"
    if before:
        write_checked(path, b"old", unchecked)
    finished = False
    with monkeypatch.context() as patch, suppress(CutOff):
        cut_off_after(steps, patch)
        write_checked(path, b"new", unchecked)
        finished = True
    assert finished == (steps > 4)  # the place; the file and its name; the manifest and its name
    if before or path.exists():
        # Never refused as "damaged or replaced": no manifest of another file is beside it.
        assert read_model(path) in ({b"old", b"new"} if before else {b"new"})
    assert finished == (manifest_of(path).exists() and read_model(path) == b"new")
    assert not path.with_name("model.onnx.unfinished").exists()


def test_a_file_that_its_check_refuses_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_checked(path, b"old", unchecked)

    def refuse(_written: Path) -> None:
        raise ExportError("not good")

    with pytest.raises(ExportError, match="not good"):
        write_checked(path, b"new", refuse)
    assert read_model(path) == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.manifest, "_write_through", full)
    with pytest.raises(ExportError, match=r"expected to write .*, got: No space left"):
        write_checked(tmp_path / "model.onnx", b"new", unchecked)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    for name, says in {
        "file/model.onnx": "File exists|Not a directory",
        "folder.onnx": "Is a directory",
        f"{'long' * 80}.onnx": "File name too long",
        "model.pt": "the name of an .onnx file",
    }.items():
        with pytest.raises(ExportError, match=says):
            check_place(tmp_path / name)
    check_place(tmp_path / "new" / "folders" / "model.onnx")
    assert list((tmp_path / "new" / "folders").iterdir()) == []


@pytest.mark.parametrize("command", ["export", "quantise", "halve", "compact"])
@pytest.mark.parametrize("output", ["file/model.onnx", "folder.onnx", "checkpoint.pt"])
def test_every_command_says_it_before_it_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, output: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "checkpoint.pt").write_bytes(b"mine")
    # The place is looked at first: whether there is a model at all comes after it.
    assert main([command, str(tmp_path / "none.onnx"), str(tmp_path / output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"metagait {command}: expected ")
    assert output in line
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"mine"


@pytest.mark.parametrize("command", ["quantise", "halve", "compact"])
def test_a_variant_does_not_replace_its_source(
    exported: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = exported.read_bytes()
    same = exported.parent / ".." / exported.parent.name / exported.name
    assert main([command, str(exported), str(same)]) == 2
    assert "expected another file than" in capsys.readouterr().err
    assert exported.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quantise", "--casia-a", "/nowhere"], "of CASIA-A in /nowhere, got none"),
        (["halve", "--casia-a", "/nowhere"], "of CASIA-A in /nowhere, got none"),
        (["compact", "--dimensions", "257"], "expected 1 to 256 dimensions"),
        (["compact"], "got 512"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    command, *options = words
    output = tmp_path / "variant.onnx"
    assert main([command, str(SHIPPED_MODEL), str(output), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not output.exists()


@pytest.mark.parametrize("command", ["quantise", "halve"])
def test_what_is_narrow_already_is_no_source(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    narrow = quantised_file(exported, tmp_path / "int8.onnx")
    assert OnnxEncoder.open(narrow).facts.precision == "int8"
    assert main([command, str(narrow), str(tmp_path / "variant.onnx")]) == 2
    assert "expected a float32 model, got one in int8" in capsys.readouterr().err


def test_an_empty_checkpoint_is_a_whole_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.pt").touch()
    assert main(["export", str(tmp_path / "empty.pt"), str(tmp_path / "a.onnx")]) == 2
    assert capsys.readouterr().err.strip().endswith("got: EOFError")
