"""The benchmark of the encoder counts rightly: rates, ratios inside a round, ceilings, errors."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.encoder import SHIPPED_MODEL
from model.network import NetworkConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float, *, slower: float = 1.0) -> Any:
        """Something that takes so long, and each time `slower` times as long as before."""

        def work(*_given: object) -> np.ndarray:
            nonlocal seconds
            self.now += seconds
            seconds *= slower
            return np.zeros((1, 4), np.float32)

        return work


def heat(benchmark: Any, clock: Clock, slower: float = 1.0) -> Any:
    contestants, ceilings = benchmark("contestants"), benchmark("ceilings")
    made = benchmark("heats").Heat(
        1,
        [
            contestants.Contestant(name, precision, clock.taking(seconds, slower=slower))
            for name, precision, seconds in [
                (contestants.EAGER, "float32", 4.0),
                (contestants.BASELINE, "float32", 2.0),
                ("engine", "float32", 1.0),
                ("engine", "int8", 0.5),
                ("engine", "float16", 0.5),
            ]
        ],
        [
            ceilings.Kernel("slow", "float32", 800, clock.taking(1, slower=slower)),
            ceilings.Kernel("fast", "float32", 1000, clock.taking(1, slower=slower)),
            ceilings.Kernel("int8", "int8", 4000, clock.taking(1, slower=slower)),
        ],
        {60: np.zeros((60, 64, 44), np.uint8)},
        1,
    )
    made.run(3, clock)
    return made


def test_rates_ratios_and_ceilings(benchmark: Any) -> None:
    made, page = heat(benchmark, Clock()), benchmark("encode_page")
    eager, _, engine, narrow, half = made.contestants
    assert made.rate(eager, 60) == 0.25
    assert made.ratio(engine, "torch eager", 60) == 4
    assert made.of_ceiling(engine, 500, 60) == 0.5
    assert made.of_ceiling(narrow, 500, 60) == 0.25
    assert made.of_ceiling(half, 500, 60) is None
    table = page.table(made, 5e11, {"engine, int8": (0.01, 0.15)})
    assert all(len(line) == len(table[0]) for line in table)
    assert table[4][-4:] == ["8.00", "4.00", "1e-02", "+0.1"]
    assert table[2][4] == "–"  # nobody counted GaitGL's operations
    assert page.ceilings_in_words(made) == "Ceilings, GFLOP/s: float32 0, int8 0."


def test_ratios_hold_on_a_machine_that_grows_slower(benchmark: Any) -> None:
    made = heat(benchmark, Clock(), slower=2.0)
    engine = made.contestants[2]
    assert made.ratio(engine, "torch eager", 60) == pytest.approx(4)
    assert made.of_ceiling(engine, 500, 60) == pytest.approx(0.5)


def test_operations_follow_from_the_shapes(benchmark: Any) -> None:
    encode = benchmark("encode")
    config = NetworkConfig(channels=(4, 6, 8), dimensions=5)
    counts = [encode.flop_of(config, frames) for frames in (30, 60)]
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)
    stem = 2 * 27 * 4 * 30 * 64 * 44
    assert counts[0] > stem


def test_kernels_compute_what_they_say(benchmark: Any) -> None:
    found = benchmark("ceilings").kernels(1)
    assert {"float32", "int8"} <= {kernel.precision for kernel in found}
    for kernel in found:
        assert kernel.flop > 1e8
        kernel.run()


def test_convolutions_are_counted_from_a_profile(benchmark: Any) -> None:
    convolutions = benchmark("convolutions")

    def event(name: str, kind: str, took: int, shape: list[int]) -> dict[str, Any]:
        told = {"op_name": kind, "output_type_shape": [{"float": shape}]}
        return {"name": f"{name}_kernel_time", "dur": took, "args": told}

    events = [
        {"name": "model_run", "dur": 10_000, "args": {}},
        event("a", "Conv", 400, [1, 8, 10, 10]),
        event("a", "Conv", 200, [1, 8, 10, 10]),  # its quickest run counts
        event("b", "QLinearConv", 100, [1, 10, 10, 16]),
        event("add", "Add", 100, [1, 8, 10, 10]),
    ]
    found = convolutions.convolved(events, {"a": (8, 4, 3, 3), "b": (16, 8, 3, 3)})
    assert found["float32"] == (2 * 800 * 36, pytest.approx(200e-6), 0.5)
    assert found["int8"] == (2 * 1600 * 72, pytest.approx(100e-6), 0.25)
    ceilings = {"float32": 4e8, "int8": 2e9}
    one, two = convolutions.rows({"file": found}, ceilings)
    assert one == ["file", "float32", "50%", "0.00", "0", "72%", "–"]
    assert two == ["file", "int8", "25%", "0.00", "2", "115%", "≥ 75% met"]


def test_a_real_profile_tells_every_convolution(benchmark: Any, tmp_path: Path) -> None:
    convolutions = benchmark("convolutions")
    profiled = convolutions.Profiled(SHIPPED_MODEL, 1, tmp_path)
    profiled.run(6)
    profiled.run(9)
    found = profiled.found()["float32"]
    assert 0 < found.share < 1
    # Two steps of three frames in Winograd's form: 6 products give 4 answers of 3 taps each.
    assert 1e8 < found.flop < 2e9


def test_how_far_embeddings_lie_apart_is_told_in_lengths(benchmark: Any) -> None:
    right = np.array([[3, 4], [0, 2]], np.float32)
    moved = right + np.array([[0, 0.5], [0, 0]], np.float32)
    told = benchmark("saturation").line("one", moved, right)
    assert told == ["one", "5.00%", "10.00%", "1 of 2"]


def test_the_page_tells_the_command_that_makes_it_again(benchmark: Any) -> None:
    encode = benchmark("encode")
    given = encode.parsed(["--frames", "60", "90", "--threads", "3", "--models", "a.onnx"])
    again = encode.command(given).removeprefix("python benchmarks/encode.py ").split()
    assert encode.parsed(again) == given
    assert "--threads 3" in encode.command(given)
    plain = encode.command(encode.parsed([]))
    assert "--models" not in plain
    assert "--without" not in plain
    given = encode.parsed(["--without", "compiled", "openvino"])
    assert encode.command(given).endswith(" --without compiled openvino")


def test_rows_are_left_out_by_a_word_of_their_name(benchmark: Any) -> None:
    encode = benchmark("encode")
    contestants = benchmark("contestants")
    given = encode.parsed(["--without", "int8", "openvino", "GaitGL", "torch"])
    config = NetworkConfig(channels=(2, 3, 4), dimensions=3)
    left = [contestant.name for contestant in encode.heat_of(given, config, {}, 1).contestants]
    # Every ratio is to one of these two, so they stay.
    assert left == [contestants.EAGER, contestants.BASELINE, "metagait, onnxruntime"]


def test_a_machine_writes_its_own_section_of_the_page(benchmark: Any) -> None:
    page = benchmark("encode_page").page
    one = page("", "one", "first\n\n### 1 thread")
    both = page(one, "two", "second")
    assert both.startswith("# Speed of the encoder\n")
    assert both.count("## one\n\nfirst\n\n### 1 thread\n\n## two\n\nsecond\n") == 1
    again = page(both, "one", "third")
    assert again == both.replace("first\n\n### 1 thread", "third")
    shipped = (ROOT / "docs/encode.md").read_text(encoding="utf-8")
    assert page(shipped, "another", "x") == shipped.rstrip() + "\n\n## another\n\nx\n"


def test_the_picture_may_lie_anywhere(benchmark: Any) -> None:
    given = benchmark("encode").parsed(["--output", "one/page.md", "--plot", "other/picture.png"])
    told = benchmark("encode_page").section(given, "", [heat(benchmark, Clock())], {60: 1e9}, {})
    assert "](../other/picture.png)" in told


def test_a_machine_is_named_with_its_arithmetic(benchmark: Any) -> None:
    processors = benchmark("machine").processors
    one = "model name\t: EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16\n"
    assert processors(2 * one).endswith(" CPUs (AVX-512, VNNI, bfloat16)")
    assert processors("model name : Old\nflags : sse avx\n").startswith("Old, ")
    assert processors("flags : avx2 avx_vnni\n").endswith(" CPUs (AVX2, VNNI)")
    assert benchmark("machine").arithmetic("") == ["no-AVX2"]


def test_the_error_is_relative(benchmark: Any) -> None:
    encode = benchmark("encode")
    right = np.array([3.0, 4.0], np.float32)
    assert encode.relative(right, right) == 0
    assert encode.relative(right + np.float32(0.05), right) == pytest.approx(0.0141, abs=1e-3)
    assert np.isnan(encode.relative(right[:1], right))


def test_points_lost_are_those_of_the_worst_kind(benchmark: Any) -> None:
    points_lost = benchmark("losses").points_lost
    right = {"NM": 0.9, "CL": 0.7}
    assert points_lost(right, {"NM": 0.91, "CL": 0.697}) == pytest.approx(0.3)
    assert points_lost(right, {"NM": 0.91, "CL": 0.72}) == pytest.approx(-1)


def test_preparing_a_walk_is_cut_into_its_steps(benchmark: Any) -> None:
    prepare, serve = benchmark("prepare"), benchmark("serve")
    body = serve.bodies_of(benchmark("serving").shipped_walk(7))
    seen: list[np.ndarray] = []
    measured = prepare.prepare(body["packed"], seen.append)
    assert all(seconds > 0 for seconds in measured)
    spent = prepare.Spent(1, 1, 1)
    assert spent.share == pytest.approx(2 / 3)
    assert seen[0].shape == (7, 64, 44)
    rows = list(prepare.lines(body, {"packed": [prepare.Spent(1, 3, 96)] * 3, "npy": [spent]}))
    assert [row[-2:] for row in rows] == [["4.0%", "≤ 5% met"], ["66.7%", "–"]]
    assert all(len(row) == len(prepare.head()) for row in rows)


def test_a_training_loop_is_told_by_its_rate_and_what_it_waits_for(benchmark: Any) -> None:
    timed = {"ours": [0.9] * 3, "waiting": [0.1] * 3, "plain": [1.5] * 3, "drawing": [0.5] * 3}
    _, ours, plain = benchmark("train").table(timed, "bfloat16")
    assert ours == ["ours", "bfloat16", "1.000", "2.00", "10.0%", "≤ 5% missed"]
    assert plain == ["plain", "float32", "0.500", "1.00", "25.0%", "–"]


def test_the_table_says_how_coarse_its_rank_is(benchmark: Any) -> None:
    measured_on = benchmark("encode_page").measured_on
    assert measured_on(0) == ""
    assert "on 20 benchmark walkers" in measured_on(20)
    assert "0.17 points" in measured_on(20)  # 20 × 6 views × 5 other views
