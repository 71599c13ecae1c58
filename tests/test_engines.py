"""Every engine is the same encoder: one suite for all, and the choice among them.

What this machine lacks is skipped by name; `python -m pytest -rs` lists it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from model.encoder import METADATA_KEY, Encoder, EngineChoice, ModelFacts, Runtime, open_encoder
from model.engines.choosing import quicker, trial_walk
from model.engines.open_vino import OpenVinoEncoder
from model.engines.threads import Threads
from model.errors import EncodeError, ModelFileError, ProviderError
from model.export import embed_one, export_onnx
from model.facts import read_facts
from model.network import MetaGait, NetworkConfig

CALLERS = 8


class Engine(NamedTuple):
    """An engine as it may be asked for, and how near it has to come to the network."""

    choice: EngineChoice
    runs: tuple[str, str, str]
    tolerance: float = 1e-4


CPU = EngineChoice(engine="onnxruntime", provider="cpu", threads=1)
VINO = EngineChoice(engine="openvino", threads=1)
ENGINES = {
    "onnxruntime-cpu": Engine(CPU, ("onnxruntime", "CPUExecutionProvider", "float32")),
    "onnxruntime-cpu-throughput": Engine(
        replace(CPU, mode="throughput", threads=2),
        ("onnxruntime", "CPUExecutionProvider", "float32"),
    ),
    "onnxruntime-cuda": Engine(
        replace(CPU, provider="cuda"), ("onnxruntime", "CUDAExecutionProvider", "float32")
    ),
    "onnxruntime-tensorrt": Engine(
        replace(CPU, provider="tensorrt"), ("onnxruntime", "TensorrtExecutionProvider", "float32")
    ),
    "openvino-float32": Engine(VINO, ("openvino", "CPU", "float32")),
    "openvino-float32-throughput": Engine(
        replace(VINO, mode="throughput", threads=2), ("openvino", "CPU", "float32")
    ),
    "openvino-bfloat16": Engine(
        replace(VINO, precision="bfloat16"), ("openvino", "CPU", "bfloat16"), 0.05
    ),
}
Opened = tuple[Encoder, Engine]


@pytest.fixture(scope="module")
def network() -> MetaGait:
    torch.manual_seed(0)
    made = MetaGait(NetworkConfig(channels=(4, 6, 8), dimensions=5)).eval()
    with torch.no_grad():
        made.head.weight.mul_(50)
    return made


@pytest.fixture(scope="module")
def model(network: MetaGait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "tiny.onnx"
    export_onnx(network, path, name="tiny")
    return path


@pytest.fixture(scope="module", params=list(ENGINES))
def opened(request: pytest.FixtureRequest, model: Path) -> Iterator[Opened]:
    engine = ENGINES[request.param]
    try:
        encoder = open_encoder(model, engine.choice)
    except ProviderError as error:
        pytest.skip(f"{request.param} does not run here: {error}")
    with closing(encoder):
        yield encoder, engine


def walk(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((frames, 64, 44))
    return np.where(noise < 0.3, 255, 0).astype(np.uint8)


def test_what_runs_is_what_was_asked_for(opened: Opened) -> None:
    encoder, engine = opened
    runs = encoder.runtime
    assert (runs.engine, runs.provider, runs.precision) == engine.runs
    assert runs.threads * runs.callers == engine.choice.threads
    assert (runs.threads == 1) or engine.choice.mode == "latency"


@pytest.mark.parametrize("lengths", [[1], [2], [3], [30], [300], [5, 1, 2], [31, 7, 60, 30]])
def test_an_engine_agrees_with_the_network_in_any_company(
    opened: Opened, network: MetaGait, lengths: list[int]
) -> None:
    encoder, engine = opened
    walks = [walk(length, seed) for seed, length in enumerate(lengths)]
    batch = encoder.encode(walks)
    assert batch.dtype == np.float32
    assert batch.shape == (len(walks), encoder.facts.embedding_length)
    for row, one in zip(batch, walks, strict=True):
        np.testing.assert_allclose(row, embed_one(network, one), atol=engine.tolerance)
        np.testing.assert_allclose(row, encoder.encode([one])[0], atol=engine.tolerance)


def test_every_length_keeps_its_memory_and_its_answer(opened: Opened, network: MetaGait) -> None:
    encoder, engine = opened
    for frames in [*range(1, 40), 299, 300]:
        (embedding,) = encoder.encode([walk(frames)])
        assert np.isfinite(embedding).all()
    np.testing.assert_allclose(
        encoder.encode([walk(4)])[0], embed_one(network, walk(4)), atol=engine.tolerance
    )


def test_eight_callers_get_each_their_own_answer(opened: Opened) -> None:
    encoder, engine = opened
    walks = [walk(5 + seed, seed) for seed in range(CALLERS)]
    alone = [encoder.encode([one])[0] for one in walks]
    start = threading.Barrier(CALLERS)

    def call(number: int) -> list[NDArray[np.float32]]:
        start.wait()
        return [encoder.encode([walks[number]])[0] for _ in range(5)]

    with ThreadPoolExecutor(CALLERS) as callers:
        for expected, answers in zip(alone, callers.map(call, range(CALLERS)), strict=True):
            for answer in answers:
                np.testing.assert_allclose(answer, expected, atol=engine.tolerance / 10)


def test_an_answer_is_not_overwritten_by_the_next(opened: Opened) -> None:
    encoder, _ = opened
    first = encoder.encode([walk(9, 1)])
    kept = first.copy()
    encoder.encode([walk(9, 2)])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("walks", "says"),
    [
        ([], "at least one walk"),
        ([walk(3).astype(np.float32)], "walk 0: expected uint8"),
        ([walk(3), walk(3)[:, :32]], r"walk 1: .*\[3, 32, 44\]"),
        ([walk(3)[0]], r"walk 0: .*\[64, 44\]"),
        ([walk(3)[:0]], "expected 1 to 2000 frames, got 0"),
        ([np.zeros((2001, 64, 44), np.uint8)], "got 2001"),
    ],
)
def test_wrong_walks_are_refused_and_harm_nothing(
    opened: Opened, walks: list[NDArray[np.uint8]], says: str
) -> None:
    encoder, _ = opened
    with pytest.raises(EncodeError, match=says):
        encoder.encode(walks)
    assert np.isfinite(encoder.encode([walk(3)])).all()


def test_closing_lets_calls_end_and_refuses_later_ones(opened: Opened, model: Path) -> None:
    _, engine = opened
    encoder = open_encoder(model, engine.choice)
    expected = encoder.encode([walk(60)])
    outcomes: list[str] = []
    begun = threading.Event()

    def call_until_refused() -> None:
        while True:
            try:
                answer = encoder.encode([walk(60)])
            except EncodeError as error:
                outcomes.append(str(error))
                return
            np.testing.assert_allclose(answer, expected, atol=engine.tolerance)
            begun.set()

    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(call_until_refused) for _ in range(2)]
        assert begun.wait(60)
        encoder.close()
        for call in calls:
            call.result(timeout=60)
    assert all("closed" in said for said in outcomes)
    assert len(outcomes) == 2
    encoder.close()


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle"])
def test_a_file_that_is_no_model_is_refused(opened: Opened, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        open_encoder(tmp_path / "model.onnx", opened[1].choice)


def test_a_foreign_or_contradictory_file_is_refused(
    opened: Opened, model: Path, tmp_path: Path
) -> None:
    choice = opened[1].choice
    for says, change in [("holds no facts", forget_facts), ("take and give", rename_output)]:
        graph = onnx.load(str(model))
        change(graph)
        path = tmp_path / "changed.onnx"
        path.write_bytes(graph.SerializeToString())
        with pytest.raises(ModelFileError, match=says):
            open_encoder(path, choice)


def forget_facts(graph: onnx.ModelProto) -> None:
    del graph.metadata_props[:]


def rename_output(graph: onnx.ModelProto) -> None:
    graph.graph.output[0].name = graph.graph.node[-1].output[0] = "something"


def with_facts(model: Path, path: Path, **changes: object) -> Path:
    """The same graph under other facts."""
    graph = onnx.load(str(model))
    (entry,) = [each for each in graph.metadata_props if each.key == METADATA_KEY]
    facts = read_facts(entry.value, b"", model)
    entry.key, entry.value = METADATA_KEY, replace(facts, **changes).to_json()  # type: ignore[arg-type]
    path.write_bytes(graph.SerializeToString())
    return path


def installed(choice: EngineChoice, model: Path) -> Encoder:
    try:
        return open_encoder(model, choice)
    except ProviderError as error:
        pytest.skip(f"does not run here: {error}")


def test_embeddings_of_another_arithmetic_have_another_id(model: Path, tmp_path: Path) -> None:
    plain = open_encoder(model, CPU).facts
    assert installed(VINO, model).facts == plain
    digits = plain.model_id.removeprefix("tiny-")
    narrow = installed(replace(VINO, precision="bfloat16"), model).facts
    assert narrow.model_id == f"tiny-bfloat16-{digits}"
    assert replace(narrow, model_id=plain.model_id, name=plain.name) == plain


def test_an_int8_file_is_comparable_on_one_engine_only(model: Path, tmp_path: Path) -> None:
    path = with_facts(model, tmp_path / "int8.onnx", precision="int8")
    plain = open_encoder(path, CPU)
    assert plain.runtime.precision == "int8"
    other = installed(VINO, path)
    assert other.runtime.precision == "int8"
    assert other.facts.model_id == plain.facts.model_id.replace("tiny-", "tiny-openvino-")
    assert open_encoder(path, EngineChoice(threads=1)).runtime.engine == "onnxruntime"


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (EngineChoice(provider="tpu"), "expected a provider of auto, cpu, cuda"),  # type: ignore[arg-type]
        (EngineChoice(engine="tpu"), "expected an engine of auto"),  # type: ignore[arg-type]
        (EngineChoice(precision="int4"), "expected a precision of model"),  # type: ignore[arg-type]
        (EngineChoice(engine="openvino", provider="cuda"), "provider cpu for OpenVINO"),
        (EngineChoice(precision="bfloat16", provider="cuda"), "provider cpu for OpenVINO"),
        (EngineChoice(engine="onnxruntime", precision="bfloat16"), "engine openvino for bfloat16"),
    ],
)
def test_what_cannot_run_is_refused(model: Path, choice: EngineChoice, says: str) -> None:
    with pytest.raises(ProviderError, match=says):
        open_encoder(model, choice)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_an_absent_provider_is_an_error_and_no_fallback(model: Path, provider: str) -> None:
    import onnxruntime

    choice = replace(CPU, provider=provider)  # type: ignore[arg-type]
    name = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[provider]
    if name in onnxruntime.get_available_providers():
        pytest.skip(f"{name} is there")
    with pytest.raises(ProviderError, match=f"{name} was asked for, but .*'gpu' installs"):
        open_encoder(model, choice)


def test_a_missing_wheel_and_a_cpu_without_bfloat16_are_named(model: Path) -> None:
    with pytest.raises(ProviderError, match="extra 'openvino' installs"):
        OpenVinoEncoder.open(model, load=lambda: None)
    installed(VINO, model).close()
    with pytest.raises(ProviderError, match="bfloat16 was asked for, but this CPU has only FP32"):
        OpenVinoEncoder.open(model, precision="bfloat16", load=OldProcessor)
    with pytest.raises(ProviderError, match="but OpenVINO has only GPU"):
        OpenVinoEncoder.open(model, load=lambda: OldProcessor(["GPU"]))


class OldProcessor:
    """What OpenVINO says of a machine that has less than this one."""

    def __init__(self, devices: tuple[str, ...] | list[str] = ("CPU",)) -> None:
        self.available_devices = list(devices)

    def get_property(self, _device: str, _name: str) -> list[str]:
        return ["FP32", "INT8"]


class Timed:
    """An encoder whose calls take a given time on a clock of their own."""

    def __init__(self, name: str, clock: "Clock", seconds: float, answer: float = 0.0) -> None:
        self.facts = ModelFacts("timed-000000000000", "timed", (64, 44), 2, 3, "", 300, None)
        self.runtime = Runtime(name, name, "float32", 1, 1)
        self._clock, self._seconds, self._answer = clock, seconds, answer
        self.closed = False

    def encode(self, walks: object) -> NDArray[np.float32]:
        self._clock.now += self._seconds
        return np.full((1, 6), self._answer, np.float32)

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "answer", "taken"),
    [
        (0.5, 0.0, "rival"),
        (0.89, 5e-5, "rival"),
        (0.91, 0.0, "reference"),  # within the noise
        (0.5, 2e-4, "reference"),  # quick, but another embedding
        (0.5, np.nan, "reference"),
        (3.0, 0.0, "reference"),
    ],
)
def test_the_quicker_one_is_taken_if_it_agrees(seconds: float, answer: float, taken: str) -> None:
    clock = Clock()
    reference, rival = Timed("reference", clock, 1), Timed("rival", clock, seconds, answer)
    chosen = quicker(reference, rival, clock)
    assert chosen.runtime.engine == taken
    assert (reference.closed, rival.closed) == (taken == "rival", taken == "reference")


def test_measuring_ends_after_its_time() -> None:
    clock = Clock()
    quicker(Timed("reference", clock, 1), Timed("rival", clock, 1), clock)
    assert clock.now == 6  # one call each to agree, then two rounds: the first and one within 2 s


def test_a_measurement_is_not_repeated(model: Path) -> None:
    with closing(installed(VINO, model)) as vino, closing(open_encoder(model, CPU)) as runtime:
        for before in (vino, runtime):
            choice = EngineChoice(threads=1).like(before.runtime)
            with closing(open_encoder(model, choice)) as after:
                assert after.runtime == before.runtime


def test_threads_are_shared_as_the_mode_says() -> None:
    assert Threads.shared("latency", 4) == Threads(4, 1)
    assert Threads.shared("throughput", 4) == Threads(1, 4)
    assert Threads.shared("latency", None).of_a_call >= 1


def test_nothing_spins_between_calls(opened: Opened) -> None:
    """A pool that waits by spinning takes about as much processor time as there is."""
    encoder, _ = opened
    encoder.encode([walk(30)])
    settled = 0.3  # OpenVINO's pool looks around for a moment before it sleeps
    time.sleep(settled)
    spent, waited = process_time_of(lambda: time.sleep(0.5))
    assert spent < waited / 2


def process_time_of(work: Callable[[], None]) -> tuple[float, float]:
    spent, began = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - spent, time.perf_counter() - began


def test_the_trial_walk_is_always_the_same() -> None:
    facts = ModelFacts("x-0", "x", (64, 44), 2, 3, "", 7, None)
    assert trial_walk(facts).shape == (7, 64, 44)
    np.testing.assert_array_equal(trial_walk(facts), trial_walk(facts))
