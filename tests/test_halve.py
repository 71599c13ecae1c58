"""Features in 16 bits: which ones, how near their embeddings come, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, shape_inference
from onnx.reference import ReferenceEvaluator

from model.encoder import OnnxEncoder
from model.errors import ExportError
from model.graph import FORMS, Form
from model.halve import halve
from tests.engines import tiny_file, walk

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


@pytest.fixture(scope="module", params=FORMS)
def halved(request: pytest.FixtureRequest, source: Path) -> onnx.ModelProto:
    form: Form = request.param
    return halve(onnx.load(source), form)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """The kind of number of every value, worked out from the nodes alone."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    found = shape_inference.infer_shapes(bare, strict_mode=True).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*found.value_info, *found.output)}


def test_the_blocks_are_narrow_and_what_follows_them_is_not(halved: onnx.ModelProto) -> None:
    onnx.checker.check_model(halved, full_check=True)
    kind = kinds(halved)
    large = {HALF: 0, FLOAT: 0}
    for node in halved.graph.node:
        if node.op_type == "Conv":
            large[kind[node.output[0]]] += not node.input[1].endswith(".shifts")
        if node.op_type in {"Exp", "Log", "Gemm", "Sigmoid", "BatchNormalization"}:
            assert kind[node.output[0]] == FLOAT, node.name
    assert large == {HALF: 8, FLOAT: 0}
    assert kind["embedding"] == FLOAT


def test_nothing_is_widened_between_the_blocks(halved: onnx.ModelProto) -> None:
    """What one convolution gives reaches the next one without a detour over 32 bits."""
    makes = {name: node for node in halved.graph.node for name in node.output}
    kind = kinds(halved)
    convolutions = [n for n in halved.graph.node if n.op_type == "Conv"]
    last = [n for n in convolutions if kind[n.output[0]] == HALF][-1]
    seen, trail = set(), [last.input[0]]
    while trail:
        name = trail.pop()
        node = makes.get(name)
        if node is None or kind[name] != HALF or node.op_type == "Cast" or name in seen:
            continue
        seen.add(name)
        trail += node.input
    assert sum(makes[name].op_type == "Conv" for name in seen) == 6  # stem and two blocks


def test_embeddings_stay_near_in_true_halves(halved: onnx.ModelProto, source: Path) -> None:
    """By the reference of the ONNX project, which rounds every number as the file says."""
    one = walk(7)
    feed = {"silhouettes": one[None], "lengths": np.array([7], np.int64)}
    (got,) = ReferenceEvaluator(halved).run(None, feed)
    expected = OnnxEncoder.open(source, provider="cpu", threads=1).encode([one])[0]
    difference = np.linalg.norm(np.ravel(got) - expected) / np.linalg.norm(expected)
    assert 1e-6 < difference < 1e-2


def test_the_parameters_stay_as_they_are_for_a_training_to_start_from(
    source: Path, halved: onnx.ModelProto
) -> None:
    after = {tensor.name: tensor for tensor in halved.graph.initializer}
    parameters = [t for t in onnx.load(source).graph.initializer if t.name.endswith(".weight")]
    assert len(parameters) > 10
    for parameter in parameters:
        assert after[parameter.name] == parameter


def test_what_the_file_was_is_not_touched(source: Path) -> None:
    model = onnx.load(source)
    before = model.SerializeToString()
    halve(model, "plain")
    assert model.SerializeToString() == before


def test_a_model_without_the_blocks_is_refused() -> None:
    nothing = onnx.helper.make_graph([], "nothing", [], [])
    with pytest.raises(ExportError, match="without any"):
        halve(onnx.helper.make_model(nothing), "shifted")
