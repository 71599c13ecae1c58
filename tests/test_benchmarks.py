"""The benchmarks of the service judge: a soak sees a wrong answer, an overload a wrong status."""

import importlib
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from model.silhouettes import align
from service.limits import Limits
from service.uploads import Upload, frames_of
from tests.caller import Caller

ROOT = Path(__file__).parents[1]
LIMITS = Limits(upload_bytes=10**7, frames=100, frame_pixels=10**6, walk_pixels=10**8)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


class Answering:
    """A connection that always gives the same answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self._answer = status, json.dumps(body).encode()

    def send(self, _request: object) -> tuple[int, bytes]:
        return self._answer


def made(soak: ModuleType) -> Any:
    return soak.Soak(server=None, people=[], rate=1, ends_at=0, pause=lambda _seconds: None)


def candidates(*found: tuple[str, float]) -> dict[str, Any]:
    return {"candidates": [{"subject": who, "distance": far} for who, far in found]}


@pytest.mark.parametrize(
    ("enrolled", "status", "body", "wrong"),
    [
        (True, 200, candidates(("ann", 0.0), ("ben", 3.0)), False),
        (True, 200, candidates(("ben", 3.0), ("ann", 4.0)), True),
        (True, 200, candidates(("ann", 3.0)), True),
        (True, 200, candidates(), True),
        (False, 200, candidates(("ben", 3.0)), False),
        (False, 200, candidates(("ben", 3.0), ("ann", 4.0)), True),
        (True, 500, {"code": "internal_error"}, True),
        (True, 503, {"code": "busy"}, False),
        (True, 409, {"code": "model_mismatch"}, True),
    ],
)
def test_a_soak_sees_a_wrong_answer(
    benchmark: Any, enrolled: bool, status: int, body: dict[str, Any], wrong: bool
) -> None:
    soak = benchmark("soak")
    run, person = made(soak), soak.Person("ann", b"walk", enrolled)
    run._identify(Answering(status, body), person)
    assert bool(run.wrong) == wrong


def test_a_soak_sees_who_is_missing_and_who_should_not_be_there(benchmark: Any) -> None:
    soak = benchmark("soak")
    run = made(soak)
    run._read(Answering(404, {}), soak.Person("ann", b"", True))
    run._erase(Answering(404, {}), soak.Person("ann", b"", True))
    run._enroll(Answering(422, {}), soak.Person("ann", b""))
    assert len(run.wrong) == 3


def test_growing_memory_is_seen(benchmark: Any) -> None:
    soak = benchmark("soak")
    memory = [(float(second), 100.0 + second) for second in range(100)]
    assert soak.grown(memory, 50) == (155.5, 193.5)


def test_an_overload_is_told_by_its_statuses(benchmark: Any) -> None:
    overloading = benchmark("overloading")
    answers = Counter({"200": 2, "503 busy": 1})
    found = overloading.Overload(answers, [0.5, 1.5], [0.002], whole_s=2)
    text = " ".join(overloading.told(found, 1.4, 0.1))
    assert "Offered 1.5 walks/s: 2 × 200, 1 × 503 busy." in text
    assert "1.0 walks/s, median 1.00 s, p99 1.49 s, longest 1.50 s" in text
    assert (
        "1.4 s of waiting, as was set, and 0.10 s for the walk alone, 1.50 s together: kept."
        in text
    )
    assert "Refused: median 2 ms" in text
    assert "1.30 s together: not kept" in " ".join(overloading.told(found, 1.2, 0.1))
    assert found.only_refusals
    found.answers["500 internal_error"] += 1
    assert not found.only_refusals


def test_a_served_round_is_compared_with_the_raw_ones_around_it(benchmark: Any) -> None:
    serve = benchmark("serve")
    raw = [serve.Timed([0.1] * 10, whole, 1.0) for whole in (1.0, 3.0)]
    one = serve.Round(serve.Timed([0.2, 0.3, 0.4], 1.0, 0.6), *raw)
    lines = serve.table({("npy", 1): [one], ("npy", 4): [one]}, {"npy": b"1234"})
    assert lines[2] == "| npy | 4 | 1 | 3.0 | – | 300 | 3.00 | 200 | 2.00 |"
    assert lines[3] == "| npy | 4 | 4 | 3.0 | 0.45 | 300 | – | 200 | 2.00 |"


def test_a_service_with_settings_is_compared_with_one_without(benchmark: Any) -> None:
    serve, pair = benchmark("serve"), benchmark("pair")
    without = serve.Timed([0.1, 0.1], 1.0, 0.5)
    having = serve.Timed([0.1, 0.3, 0.3, 0.3], 1.0, 0.5)
    assert list(pair.lines({("npy", 4): [(without, having)] * 3})) == [
        ["npy", "4", "2.0", "2.00", "100", "3.00", "0.50"]
    ]
    assert len(pair.HEAD) == 7
    assert pair.parsed(["METAGAIT_MODE=throughput"]).settings == {"METAGAIT_MODE": "throughput"}
    with pytest.raises(SystemExit):
        pair.parsed(["throughput"])


def test_what_a_walk_took_is_told_by_stage(benchmark: Any) -> None:
    stages = benchmark("stages")
    nothing = dict.fromkeys(stages.STAGES, 0.0)
    before = stages.Reading(nothing, {**nothing, "loop": 0.0}, 1.0, 0.0)
    after = stages.Reading(
        {**nothing, "decode": 0.2, "encode": 1.0}, {**nothing, "decode": 0.1, "loop": 0.3}, 3.0, 0.1
    )
    spent = stages.Spent.between(before, after, 10, 1.5, 1.2)
    assert spent.wall["way"] == pytest.approx(30)
    assert spent.wall["idle"] == pytest.approx(20)
    assert spent.processor["encode"] == pytest.approx(160)
    text = "\n".join(stages.table({"packed": spent}))
    assert "| decoding | 20.00 | 10.00 |" in text
    assert "| receiving the body | – | – |" in text


def test_the_walks_of_the_benchmark_are_read_alike_in_every_form(
    benchmark: Any, tmp_path: Path
) -> None:
    serving, serve = benchmark("serving"), benchmark("serve")
    walk = serving.shipped_walk(7)
    assert walk.shape[0] == 7
    for body in serve.bodies_of(walk).values():
        file = tmp_path / "walk"
        file.write_bytes(body)
        with file.open("rb") as opened:
            read = align(frames_of(Upload(sequence=opened), LIMITS)).silhouettes
        np.testing.assert_array_equal(read, align(walk).silhouettes)


def test_a_packed_walk_is_sent_as_the_whole_body_and_answered_like_the_others(
    benchmark: Any, client: Caller
) -> None:
    serving, serve = benchmark("serving"), benchmark("serve")
    bodies = serve.bodies_of(serving.shipped_walk(20))
    assert len(bodies["packed"]) < len(bodies["zip of PNG"]) < len(bodies["npy"])
    frames = []
    for body in bodies.values():
        request = serving.identify(body)
        answer = client.request(
            request.method, request.path, content=request.body, headers=dict(request.headers)
        )
        assert answer.status_code == 200, answer.text
        frames.append(answer.json()["frames"])
    assert serving.identify(bodies["packed"]).body == bodies["packed"]
    assert frames[0]["used"] == 20
    assert frames[1:] == frames[:1] * 2


def test_a_start_is_told_with_its_goal(benchmark: Any) -> None:
    start = benchmark("start")
    one, others = start.rows([start.Start(9.0, 11.0), start.Start(2, 3), start.Start(4, 5)])
    assert one == ["the first", "9.0", "11.0", "≤ 10 s missed"]
    assert others == ["median of 2 more", "3.0", "4.0", "≤ 10 s met"]
    assert len(start.rows([start.Start(1, 2)])) == 1


def test_the_served_path_is_measured_with_the_provider_and_the_model_that_were_asked_for(
    benchmark: Any,
) -> None:
    serve = benchmark("serve")
    given = serve._parser().parse_args(["--provider", "cuda", "--model", "half.onnx"])
    settings = serve.settings_of(given)
    assert (settings.provider, settings.model) == ("cuda", Path("half.onnx"))
    assert serve._others(given) == " --provider cuda --model half.onnx"
    assert serve._others(serve._parser().parse_args(["--callers", "1", "4"])) == " --callers 1 4"
    assert serve._others(serve._parser().parse_args([])) == ""
    environment = serve._environment(settings)
    assert environment["METAGAIT_PROVIDER"] == "cuda"
    assert environment["METAGAIT_MODEL"] == "half.onnx"
