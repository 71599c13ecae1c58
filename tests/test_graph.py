"""The forms of an exported graph: the same embeddings, and the same parameters inside."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from metagait import main
from model.encoder import METADATA_KEY, OnnxEncoder
from model.errors import ExportError
from model.export import export_onnx
from model.graph import FORMS, GRAPH_KEY, form_of, rewrite
from model.graph.blocks import find_blocks
from model.graph.stem import find_stem
from model.graph.windows import WINOGRAD
from model.manifest import manifest_of
from model.network import MetaGait, NetworkConfig
from model.start import start_from

CONFIG = NetworkConfig(channels=(2, 3, 4), dimensions=3, attention=(), pooling=("max", "mean"))
WALKS = [
    np.random.default_rng(length).integers(0, 256, (length, 64, 44), np.uint8)
    for length in (1, 13, 37, 2)
]


@pytest.fixture(scope="module")
def network() -> MetaGait:
    torch.manual_seed(3)
    made = MetaGait(CONFIG).eval()
    with torch.no_grad():
        made.head.weight.mul_(50)
    return made


@pytest.fixture(scope="module")
def plain(network: MetaGait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "plain.onnx"
    export_onnx(network, path, name="plain", form="plain")
    return path


def operations(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_windows_give_the_convolution() -> None:
    generator = np.random.default_rng(0)
    kernel, signal = generator.normal(size=3), generator.normal(size=WINOGRAD.steps + 2)
    products = (WINOGRAD.raise_kernel @ kernel) * (WINOGRAD.lift @ signal)
    np.testing.assert_allclose(
        WINOGRAD.fall @ products, np.correlate(signal, kernel, "valid"), atol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_embeddings_and_leads_to_every_other(
    plain: Path, tmp_path: Path, form: str
) -> None:
    path, back = tmp_path / f"{form}.onnx", tmp_path / "back.onnx"
    assert main(["export", str(plain), str(path), "--form", form]) == 0
    assert main(["export", str(path), str(back), "--form", "plain"]) == 0
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert form_of(onnx.load(path)) == form
    assert form_of(onnx.load(back)) == "plain"
    expected = OnnxEncoder.open(plain, threads=1).encode(WALKS)
    for made in (path, back):
        assert manifest_of(made).exists()
        got = OnnxEncoder.open(made, threads=1)
        assert got.facts.name == "plain"
        np.testing.assert_allclose(got.encode(WALKS), expected, atol=1e-5)


def test_the_forms_are_really_others(plain: Path) -> None:
    model = onnx.load(plain)
    for form, rank, groups in [("plain", 5, 1), ("shifted", 4, 1), ("winograd", 4, 6)]:
        graph = rewrite(model, form).graph
        last = [node for node in graph.node if node.op_type == "Conv"][-1]
        attributes = {a.name: helper.get_attribute_value(a) for a in last.attribute}
        assert len(attributes["pads"]) == 2 * (rank - 2)
        assert attributes.get("group", 1) == groups


@pytest.mark.parametrize("form", FORMS)
def test_the_parameters_stay_in_the_file(
    network: MetaGait, plain: Path, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(rewrite(onnx.load(plain), form), path)
    other = MetaGait(CONFIG)
    start_from(path, other)
    for name, weight in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight)


def test_a_file_of_an_earlier_version_gets_a_flat_stem_too(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    del model.metadata_props[:]
    rename(model.graph, "stem.weight", "hidden")
    earlier = rewrite(model, "winograd")
    rename(earlier.graph, "hidden", "stem.weight")
    assert '"stem": null' in earlier.metadata_props[-1].value
    assert {"stem.weight", "compress.weight"} <= kernels(earlier.graph)
    after = rewrite(earlier, "winograd")
    assert not {"stem.weight", "compress.weight"} & kernels(after.graph)
    facts = [entry for entry in onnx.load(plain).metadata_props if entry.key == METADATA_KEY]
    after.metadata_props.extend(facts)
    onnx.save(after, tmp_path / "after.onnx")
    expected = OnnxEncoder.open(plain, threads=1).encode(WALKS)
    got = OnnxEncoder.open(tmp_path / "after.onnx", threads=1).encode(WALKS)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for tensor in graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def kernels(graph: onnx.GraphProto) -> set[str]:
    return {node.input[1] for node in graph.node if node.op_type == "Conv"}


def test_a_stem_that_is_not_ours_is_refused(plain: Path) -> None:
    graph = onnx.load(plain).graph
    next(node for node in graph.node if node.op_type == "LeakyRelu").op_type = "Identity"
    with pytest.raises(ExportError, match="expected a stem"):
        find_stem(graph)


def test_a_graph_that_is_not_ours_is_refused(plain: Path) -> None:
    model = onnx.load(plain)
    del model.metadata_props[:]
    for node in model.graph.node:
        if node.op_type == "LeakyRelu":
            node.op_type = "Relu"
            del node.attribute[:]
    with pytest.raises(ExportError, match="expected blocks"):
        find_blocks(model.graph)
    for said in ["{", '{"form": "other", "blocks": []}', '{"form": "plain"}', "[]"]:
        helper.set_model_props(model, {GRAPH_KEY: said})
        with pytest.raises(ExportError, match="cannot be read"):
            rewrite(model, "winograd")


def test_an_exported_file_keeps_its_facts(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(plain), str(tmp_path / "a.onnx"), "--name", "b"]) == 2
    assert "whose name is kept" in capsys.readouterr().err
