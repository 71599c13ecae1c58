"""The choice among engines, and whose embeddings may meet in a gallery."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.cpus import available_cpus
from model.encoder import EngineChoice, ModelFacts, Runtime, open_encoder
from model.engines.choosing import quicker, trial_walk
from model.engines.open_vino import OpenVinoEncoder
from model.engines.threads import Threads
from model.errors import ProviderError
from tests.engines import CPU, VINO, installed, tiny_file, with_facts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory)


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


def test_a_float16_file_runs_in_float32_on_a_processor_and_says_so(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_facts(model, tmp_path / "float16.onnx", precision="float16")
    assert open_encoder(path, CPU).runtime.precision == "float32"
    assert "asks for float16, which this processor has no kernels for" in caplog.text
    assert installed(VINO, path).runtime.precision == "float32"


@pytest.mark.parametrize(
    ("broken", "error"),
    [("encode", RuntimeError("no kernel")), ("_open", ProviderError("no library"))],
)
def test_an_engine_that_does_not_work_is_no_rival(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    error: Exception,
) -> None:
    installed(VINO, model).close()

    def fail(*_given: object) -> None:
        raise error

    monkeypatch.setattr(OpenVinoEncoder, broken, fail)
    with closing(open_encoder(model, EngineChoice(threads=1))) as encoder:
        assert encoder.runtime.engine == "onnxruntime"
    assert f"OpenVINO is installed but does not run here: {error}" in caplog.text


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


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "350000 100000\n"}, 3),  # a container
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "200000 100000"}, 2),  # systemd
        (
            "0::/a.slice/b.service\n",
            {"a.slice/cpu.max": "500000 100000", "a.slice/b.service/cpu.max": "max 100000"},
            5,
        ),
        (
            "5:cpu,cpuacct:/docker/c\n4:memory:/docker/c\n0::/x\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "5:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        ("nonsense\n", {"cpu.max": "nonsense"}, 64),
    ],
)
def test_threads_are_as_many_as_the_quota_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)))
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_cpus(tmp_path / "groups", tmp_path / "own") == cpus


def test_the_trial_walk_is_always_the_same() -> None:
    facts = ModelFacts("x-0", "x", (64, 44), 2, 3, "", 7, None)
    assert trial_walk(facts).shape == (7, 64, 44)
    np.testing.assert_array_equal(trial_walk(facts), trial_walk(facts))


@pytest.mark.parametrize(
    ("provider", "frames"),
    [("CPUExecutionProvider", 32), ("CPU", 32), ("CUDAExecutionProvider", 256)],
)
def test_a_call_is_small_on_a_cpu_and_large_on_a_gpu(provider: str, frames: int) -> None:
    assert Runtime("any", provider, "float32", 1, 1).batch_frames == frames
