"""What a command is to write at its end: refused before the work, and there whole or not at all."""

from pathlib import Path

import pytest

from metagait import main
from model.bounds import check_writable
from model.caches import VALIDATION, walkers_cache
from model.encoder import OnnxEncoder
from model.errors import ConfigError
from model.manifest import manifest_of
from tests.datasets import write_cache
from tests.engines import tiny_file
from tests.test_evaluate import ALL, grid


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


def test_a_look_whether_a_file_can_be_written_leaves_things_as_they_are(tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.write_text("kept")
    check_writable(there, None, new)
    assert (there.read_text(), new.exists()) == ("kept", False)
    for wrong in (tmp_path, tmp_path / "no folder" / "new", there / "below"):
        with pytest.raises(ConfigError, match=f"expected to write {wrong}, got: "):
            check_writable(new, wrong)


@pytest.mark.parametrize("option", ["--markdown", "--json"])
def test_an_evaluation_that_could_not_be_written_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    # The model is missing as well: it would be named if anything had been opened.
    lost = tmp_path / "no folder" / "result"
    assert main(["evaluate", str(tmp_path / "none.onnx"), option, str(lost)]) == 2
    assert f"expected to write {lost}, got: No such file" in capsys.readouterr().err


def test_pictures_that_could_not_be_written_are_not_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cmc.png").mkdir()
    none = str(tmp_path / "none.onnx")
    assert main(["plot", "cmc", "--model", none, "--output", str(tmp_path)]) == 2
    assert f"expected to write {tmp_path / 'cmc.png'}, got: Is a dir" in capsys.readouterr().err


def test_a_calibrated_export_is_there_with_its_threshold_or_not_at_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = OnnxEncoder.open(exported, provider="cpu")
    cache = walkers_cache(VALIDATION, Path("runs"), "validation", encoder.facts.size)
    cache.parent.mkdir()
    write_cache(grid(8, ("000", "090"), ALL), cache)
    output = tmp_path / "out" / "model.onnx"
    command = ["export", str(exported), str(output), "--calibrate", "--fpir"]
    assert main([*command, "0.000001"]) == 2
    assert "independent non-mated walks for an FPIR" in capsys.readouterr().err
    assert list(output.parent.iterdir()) == []
    assert main([*command, "0.4"]) == 0
    threshold = OnnxEncoder.open(output, provider="cpu").facts.threshold
    assert threshold is not None
    assert (threshold.target_fpir, manifest_of(output).exists()) == (0.4, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["export", "a.onnx", "b.onnx", "--fpir", "0.1"],
            "expected --fpir only together with --calibrate",
        ),
        (
            ["evaluate", "a.onnx", "--samples-each", "2"],
            "expected --samples-each only together with --open-set",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
