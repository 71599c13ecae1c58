"""Ablations: every row is what its table says, all by the same budget, and laid out truly."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from model.ablate import RESULT, ablate, check_budget, check_network, results_in, run_one
from model.ablation import Ablation, Line, Table, Tables, load_ablation, seeded
from model.ablation_report import Draws, difference, report
from model.config import DataConfig, TrainConfig, plain
from model.errors import ConfigError, DatasetError
from model.gaitset import GaitSetConfig
from model.network import NetworkConfig
from model.pooling import METHODS
from tests.tiny import TINY, noise_dataset

SHIPPED = Path(__file__).parent.parent / "model" / "configs" / "ablation.yaml"
CONDITIONS = ("nm-01", "nm-05", "bg-01", "cl-01")


@pytest.fixture(scope="module")
def shipped() -> Ablation:
    return load_ablation(SHIPPED)


def network(ablation: Ablation, row: str) -> NetworkConfig:
    config = ablation.rows[row].network
    assert isinstance(config, NetworkConfig)
    return config


def test_rows_share_everything_but_the_network(shipped: Ablation) -> None:
    budget = shipped.budget()
    for name, config in shipped.rows.items():
        assert config.name == name
        values = plain(config)
        assert {key: values[key] for key in budget} == budget
    assert len({json.dumps(plain(c)["network"]) for c in shipped.rows.values()}) == len(
        shipped.rows
    )


def test_rows_are_those_of_the_paper(shipped: Ablation) -> None:
    assert [len(table.lines) for table in shipped.layout.tables] == [3, 4, 5, 11, 8]
    base = network(shipped, "metagait")
    assert base == NetworkConfig(channels=base.channels, dimensions=base.dimensions)
    trunk = network(shipped, "gaitgl")
    assert (trunk.attention, trunk.pooling, trunk.pooling_weights) == ((), ("max",), "none")
    assert network(shipped, "mta") == replace(base, pooling=("max",), pooling_weights="none")
    assert network(shipped, "mtp") == replace(base, attention=())
    assert network(shipped, "static") == replace(base, calibration="static", gate=False)
    assert network(shipped, "pool-static").pooling == METHODS
    assert isinstance(shipped.rows["gaitset"].network, GaitSetConfig)


def test_the_paper_means_are_those_of_its_figures(shipped: Ablation) -> None:
    for table in shipped.layout.tables:
        for line in table.lines:
            assert sum(line.paper[:3]) / 3 == pytest.approx(line.paper[3], abs=0.11), line


def test_the_base_can_be_another_configuration(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(plain(replace(TINY, iterations=3))))
    ablation = load_ablation(SHIPPED, path)
    assert {config.iterations for config in ablation.rows.values()} == {3}
    assert ablation.rows["gaitset"].network == GaitSetConfig(channels=(2, 4, 4), dimensions=4)
    assert {c.iterations for c in ablation.shortened(2).rows.values()} == {2}


Change = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(rows={"a": {"gates": 1}}), "rows.a: network.gates: unknown key"),
        (lambda c: c.update(rows={"a": 5}), "rows.a: expected keys of a network"),
        (lambda c: c.update(rows=[]), "rows among them"),
        (lambda c: c.update(base=5), "base: expected a training configuration"),
        (lambda c: c.update(baseline="b"), "tables: expected rows among ('a',), got 'b'"),
        (lambda c: c.update(seeds=5), "seeds: unknown key"),
        (
            lambda c: c.update(rows={"a": {}, "b": {"size": [128, 88]}}),
            "rows: expected networks of one size",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: Change, said: str) -> None:
    base = {key: value for key, value in plain(TINY).items() if key != "name"}
    content: dict[str, object] = {"base": base, "baseline": "a", "rows": {"a": {}}, "tables": []}
    change(content)
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as caught:
        load_ablation(path)
    assert said in str(caught.value)


def test_unknown_rows_are_refused(shipped: Ablation) -> None:
    assert list(shipped.of(("mtp", "gaitgl"))) == ["gaitgl", "mtp"]
    with pytest.raises(ConfigError, match="got 'gaitpart'"):
        shipped.of(("gaitpart",))


def rows(**networks: NetworkConfig) -> dict[str, TrainConfig]:
    return {name: replace(TINY, iterations=1, network=n) for name, n in networks.items()}


TWO = Ablation(
    rows(
        plain=replace(
            NetworkConfig(channels=(2, 4, 4), dimensions=4),
            attention=(),
            pooling=("max",),
            pooling_weights="none",
        ),
        whole=NetworkConfig(channels=(2, 4, 4), dimensions=4),
    ),
    Tables(
        "plain",
        (
            Table(
                "Both",
                (
                    Line("plain", "Plain", (96.1, 90.5, 80.3, 89.0)),
                    Line("whole", "Whole", (98.1, 95.2, 86.9, 93.4)),
                ),
            ),
        ),
    ),
)


def draws(*measured: float, spread: float = 0.0) -> Draws:
    steps = np.linspace(-spread, spread, 41)
    return np.array([measured, *(np.array(measured) + step for step in steps)])


def test_the_report_pairs_each_seed_with_the_baseline() -> None:
    results = {
        "plain": {1: draws(0.5, 0.4, 0.3, spread=0.2), 2: draws(0.6, 0.5, 0.4, spread=0.2)},
        "whole": {1: draws(0.6, 0.5, 0.4, spread=0.2), 2: draws(0.7, 0.7, 0.7, spread=0.2)},
    }
    text = report(TWO, results, 50, "metagait ablate x.yaml")
    assert "metagait ablate x.yaml" in text
    assert "seeds 1, 2" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0].startswith("|  | paper: NM / BG / CL | mean | NM | BG | CL | mean |")
    assert lines[2].startswith("| Plain | 96.1 / 90.5 / 80.3 | 89.0 | 55.0 [")
    assert lines[2].endswith("| – | – |")
    # Both move together from draw to draw, so the paired difference does not move at all.
    assert lines[3].endswith("| +15.0 [+15.0, +15.0] | +10.0, +20.0 |")


def test_a_row_without_results_is_a_line_of_dashes() -> None:
    text = report(TWO, {"whole": {1: draws(0.6, 0.5, 0.4)}}, 50, "x")
    assert "| Plain | 96.1 / 90.5 / 80.3 | 89.0 | – | – | – | – | – | – |" in text
    assert "| 50.0 [50.0, 50.0] | – | – |" in text
    with pytest.raises(DatasetError, match="common seed"):
        difference({1: draws(0.5)}, {2: draws(0.5)})


def test_an_ablation_trains_scores_resumes_and_tabulates(tmp_path: Path) -> None:
    dataset = noise_dataset()
    benchmark = noise_dataset(3, CONDITIONS, ("000", "090"))
    assert ablate(TWO, TWO.rows, (1,), tmp_path, dataset=dataset, benchmark=benchmark)
    found = results_in(tmp_path, TWO)
    assert {row: list(seeds) for row, seeds in found.items()} == {"plain": [1], "whole": [1]}
    assert all(0 <= scored[1][0].min() <= scored[1][0].max() <= 1 for scored in found.values())
    assert "| Whole |" in (tmp_path / "ablation.md").read_text()

    scored = tmp_path / "whole" / "seed-1" / "rank-one.npz"
    stamps = [path.stat().st_mtime_ns for path in (scored, scored.parent / "checkpoint.pt")]
    config = seeded(TWO.rows["whole"], 1)
    assert run_one(config, scored.parent, dataset, benchmark)
    again = [path.stat().st_mtime_ns for path in (scored, scored.parent / "checkpoint.pt")]
    assert again == stamps

    with pytest.raises(ConfigError, match="budget"):
        ablate(TWO.shortened(2), TWO.rows, (1,), tmp_path, dataset=dataset, benchmark=benchmark)
    other = replace(config, network=TWO.rows["plain"].network)
    with pytest.raises(ConfigError, match="network"):
        run_one(other, scored.parent, dataset, benchmark)


def test_damaged_files_of_an_ablation_are_named(tmp_path: Path) -> None:
    check_budget(TWO, tmp_path)
    written = (tmp_path / "budget.json").read_bytes()
    check_budget(TWO, tmp_path)
    config, folder = TWO.rows["plain"], tmp_path / "plain" / "seed-1"
    folder.mkdir(parents=True)
    for damaged in (b"", written[:20], b"\xff", b"[]"):
        (tmp_path / "budget.json").write_bytes(damaged)
        (folder / "config.json").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"budget\.json"):
            check_budget(TWO, tmp_path)
        with pytest.raises(ConfigError, match=r"config\.json"):
            check_network(config, folder)
    np.savez(folder / RESULT, rank_one=draws(0.5, 0.4, 0.3))
    whole = (folder / RESULT).read_bytes()
    (tmp_path / "plain" / "seed-1 before").mkdir()  # set aside by hand
    (tmp_path / "plain" / "seed-1 before" / RESULT).write_bytes(whole)
    assert list(results_in(tmp_path, TWO)["plain"]) == [1]
    for damaged in (b"", whole[:30], whole.replace(b"rank_one", b"rank_two")):
        (folder / RESULT).write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"rank-one\.npz.* scored again"):
            results_in(tmp_path, TWO)


def test_the_report_says_who_trained() -> None:
    for data, said in (
        (DataConfig("data/casia-b", partition="lt"), "subjects of casia-b, the partition lt,"),
        (DataConfig("data/casia-b", train_subjects=24), "casia-b, the partition of the first 24"),
        (DataConfig("data/casia-b", train_ids=("1",)), "casia-b, the partition by a list of 1 ids"),
        (DataConfig("data/casia-b"), "subjects of casia-b, all of them,"),
    ):
        rows = {name: replace(row, data=data) for name, row in TWO.rows.items()}
        assert said in report(replace(TWO, rows=rows), {}, 50, "x")


def test_an_ablation_that_was_ended_says_so(tmp_path: Path) -> None:
    ablation, dataset = TWO.shortened(3), noise_dataset()
    ended = ablate(
        ablation, ablation.rows, (1,), tmp_path, dataset=dataset, benchmark=dataset, deadline=0.0
    )
    assert not ended
    assert not (tmp_path / "ablation.md").exists()
