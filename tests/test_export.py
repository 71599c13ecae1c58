"""ONNX against torch, and what a model file says about itself."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model.encoder import METADATA_KEY, ModelFacts, OnnxEncoder
from model.errors import EncodeError, ExportError, ModelFileError, ProviderError
from model.export import check_parity, embed_one, export_onnx
from model.gaitset import GaitSet, GaitSetConfig
from model.manifest import manifest_of, read_model
from model.silhouettes import PREPROCESSING_ID
from tests.engines import tiny_file, tiny_network
from tests.fakes import THRESHOLD


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


def walk(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, 64, 44), np.uint8)


def test_an_export_says_nothing_of_what_torch_lacks(tmp_path: Path) -> None:
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    log = logging.getLogger("torch.onnx")
    log.addHandler(handler)
    network = GaitSet(GaitSetConfig(channels=(3, 4, 5), dimensions=6))
    export_onnx(network, tmp_path / "model.onnx", name="bare")
    log.removeHandler(handler)
    assert [record.getMessage() for record in told] == []


@pytest.mark.parametrize("lengths", [[1], [2], [3], [5, 1, 2], [300], [31, 7, 60, 30]])
def test_onnx_equals_torch_on_ragged_batches(exported: Path, lengths: list[int]) -> None:
    encoder, network = OnnxEncoder.open(exported, provider="cpu", threads=1), tiny_network()
    walks = [walk(length, i) for i, length in enumerate(lengths)]
    batch = encoder.encode(walks)
    assert batch.dtype == np.float32
    for row, one in zip(batch, walks, strict=True):
        expected = embed_one(network, one)
        assert expected.std() > 0.01
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_the_facts_travel_in_the_file(exported: Path) -> None:
    facts = OnnxEncoder.open(exported).facts
    assert facts.model_id.startswith("tiny-")
    assert len(facts.model_id) == len("tiny-") + 12
    assert (facts.size, facts.parts, facts.dimensions) == ((64, 44), 64, 5)
    assert facts.embedding_length == 320
    assert facts.threshold == THRESHOLD
    assert facts.preprocessing_id == PREPROCESSING_ID


def test_a_file_that_differs_from_its_network_is_not_written(
    exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"within 0\.0001"):
        check_parity(tiny_network(1), exported)

    class Drifting(GaitSet):
        """Behaves otherwise once it is no longer traced."""

        def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            drift = 0.0 if torch.compiler.is_exporting() else 0.1
            return super().forward(silhouettes, lengths) + drift

    # The other network: it is traced in a tenth of the time.
    drifting = Drifting(GaitSetConfig(channels=(3, 4, 5), dimensions=6))
    with pytest.raises(ExportError, match=r"a difference of 0\.(1|09)"):
        export_onnx(drifting, tmp_path / "drift.onnx", name="drift")
    assert list(tmp_path.iterdir()) == []


def test_embeddings_that_are_no_numbers_are_no_small_difference(exported: Path) -> None:
    astray = tiny_network(1)
    with torch.no_grad():
        next(astray.parameters()).fill_(float("nan"))
    with pytest.raises(ExportError, match="got a difference of nan"):
        check_parity(astray, exported)


def test_the_provider_that_runs_is_said_and_an_absent_one_refused(exported: Path) -> None:
    assert OnnxEncoder.open(exported, provider="cpu").runtime.provider == "CPUExecutionProvider"
    with pytest.raises(ProviderError, match="expected a provider of auto, cpu, cuda"):
        OnnxEncoder.open(exported, provider="tpu")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "not an ONNX model"), (b"\x80\x04pickle", "not an ONNX model")],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says):
        OnnxEncoder.open(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="expected a model file at"):
        OnnxEncoder.open(tmp_path / "none.onnx")


def changed(exported: Path, path: Path, metadata: str | None) -> Path:
    model = onnx.load(exported)
    del model.metadata_props[:]
    if metadata is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, metadata
    onnx.save(model, path)
    return path


def test_another_file_is_another_model(exported: Path, tmp_path: Path) -> None:
    facts = OnnxEncoder.open(exported).facts
    other = changed(exported, tmp_path / "other.onnx", replace(facts, max_frames=7).to_json())
    assert OnnxEncoder.open(other).facts.model_id != facts.model_id


def test_foreign_unreadable_and_outdated_facts_are_refused(exported: Path, tmp_path: Path) -> None:
    facts = OnnxEncoder.open(exported).facts
    old = replace(facts, preprocessing_id="another-1").to_json()
    for metadata, says in [
        (None, "holds no facts"),
        ("{", "cannot be read"),
        ("5", "cannot be read"),
        (
            facts.to_json().replace('"max_frames": 2000', '"max_frames": "2000"'),
            "value for max_frames",
        ),
        (facts.to_json().replace('"parts": 64', '"parts": 0'), "whole numbers above 0"),
        (facts.to_json().replace("[64, 44]", "[64, 44, 3]"), "value for size"),
        (facts.to_json().replace('"distance": ', '"distance": -'), "expected distances"),
        (
            facts.to_json().replace('"distance": ', '"distance": NaN, "fnir": '),
            "value for distance",
        ),
        ("[" * 100_000, "cannot be read"),
        ('{"threshold": null}', "cannot be read"),
        (old, "expects preprocessing 'another-1'"),
    ]:
        with pytest.raises(ModelFileError, match=says):
            OnnxEncoder.open(changed(exported, tmp_path / "changed.onnx", metadata))


@pytest.mark.parametrize(
    ("walks", "says"),
    [
        ([], "at least one walk"),
        ([walk(3).astype(np.float32)], "walk 0: expected uint8"),
        ([walk(3), walk(3)[:, :32]], r"walk 1: .*\[3, 32, 44\]"),
        ([walk(3)[:0]], "expected 1 to 2000 frames, got 0"),
        ([np.zeros((2001, 64, 44), np.uint8)], "got 2001"),
    ],
)
def test_wrong_walks_are_refused(exported: Path, walks: list[NDArray[np.uint8]], says: str) -> None:
    with pytest.raises(EncodeError, match=says):
        OnnxEncoder.open(exported).encode(walks)


def test_a_closed_encoder_says_so(exported: Path) -> None:
    encoder = OnnxEncoder.open(exported)
    encoder.close()
    with pytest.raises(EncodeError, match="closed"):
        encoder.encode([walk(3)])


def test_facts_survive_their_json() -> None:
    facts = ModelFacts("x-" + "0" * 12, "x", (128, 88), 128, 256, "p", 9, None)
    assert ModelFacts.from_json(facts.to_json(), "0" * 64) == facts


def copied(exported: Path, folder: Path, content: bytes | None = None) -> Path:
    """The exported model with its manifest, or other bytes beside that manifest."""
    path = folder / exported.name
    path.write_bytes(exported.read_bytes() if content is None else content)
    manifest_of(path).write_bytes(manifest_of(exported).read_bytes())
    return path


def test_an_export_writes_its_manifest(exported: Path, tmp_path: Path) -> None:
    line = manifest_of(exported).read_text()
    assert line == f"{hashlib.sha256(exported.read_bytes()).hexdigest()}  {exported.name}\n"
    OnnxEncoder.open(copied(exported, tmp_path)).close()


def test_a_model_that_differs_from_its_manifest_is_not_loaded(
    exported: Path, tmp_path: Path
) -> None:
    bent = bytearray(exported.read_bytes())
    bent[len(bent) // 2] ^= 1
    with pytest.raises(ModelFileError, match="damaged or replaced"):
        OnnxEncoder.open(copied(exported, tmp_path, bytes(bent)))


@pytest.mark.parametrize("line", [b"", b"abc model.onnx", b"\xff\xfe", b"0" * 64 + b"  other.onnx"])
def test_a_manifest_that_says_nothing_is_an_error(
    exported: Path, tmp_path: Path, line: bytes
) -> None:
    path = copied(exported, tmp_path)
    manifest_of(path).write_bytes(line)
    with pytest.raises(ModelFileError, match=r"\.sha256"):
        OnnxEncoder.open(path)


def test_weights_in_other_files_are_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(str(exported))
    path = tmp_path / "outside.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin",
                    size_threshold=0)  # fmt: skip
    with pytest.raises(ModelFileError, match="refers to other files"):
        OnnxEncoder.open(path)


@pytest.mark.parametrize(
    "entry",
    [
        b"\x12\x05w.bin\x0a\x08location",  # the value before its key
        b"\x0a\x88\x80\x00location\x12\x05w.bin",  # a length in more bytes than it needs
        b"\x8a\x00\x08location\x12\x05w.bin",  # the tag as well
    ],
)
def test_weights_in_other_files_are_refused_however_it_is_written(
    entry: bytes, tmp_path: Path
) -> None:
    said = onnx.StringStringEntryProto.FromString(entry)
    assert (said.key, said.value) == ("location", "w.bin")
    path = tmp_path / "outside.onnx"
    path.write_bytes(b"before" + entry + b"behind")
    with pytest.raises(ModelFileError, match="refers to other files"):
        read_model(path)


def test_a_graph_that_contradicts_its_facts_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(str(exported))
    model.graph.output[0].name = model.graph.node[-1].output[0] = "something"
    path = tmp_path / "renamed.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="take and give"):
        OnnxEncoder.open(path)
