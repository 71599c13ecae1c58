"""`make weights` from nothing to the files that ship: its very lines, few iterations, few people.

The caches of walkers are laid ready under the names by which the commands look for them, with a
handful of drawn outlines in the place of hundreds of walkers. Everything else is as in the four
hours that the whole takes.
"""

import itertools
import shlex
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from metagait import main
from model.caches import BENCHMARK, VALIDATION, walkers_cache
from model.checkpoint import load_checkpoint
from model.compact import LEARNED_ON
from model.config import WalkersConfig, load_config
from model.dataset import PackedWriter
from model.encoder import SHIPPED_MODEL, OnnxEncoder
from model.manifest import manifest_of
from model.quantise import WALKERS
from model.walkers import packed_walk

ROOT = Path(__file__).parent.parent
STEPS = ("demo", "varied", "walkers")


def lines_of_make() -> list[list[str]]:
    """The words of each line that `make weights` would run, without `metagait` itself."""
    words = ["make", "--dry-run", "--old-file", ".venv/.complete", "weights"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [shlex.split(line) for line in told.splitlines() if "bin/metagait " in line]
    return [line[1:] for line in lines]


def walk(person: int, seed: int, frames: int) -> NDArray[np.uint8]:
    """Draw a person as eight blocks of own widths and places, with some wrong pixels in each."""
    drawn = np.random.default_rng(person)
    picture = np.zeros((64, 44), np.uint8)
    for band, (wide, left) in enumerate(
        zip(drawn.integers(6, 18, 8), drawn.integers(4, 24, 8), strict=True)
    ):
        picture[8 * band : 8 * band + 8, left : left + wide] = 255
    wrong = np.random.default_rng([person, seed]).random((frames, 64, 44)) < 0.02
    return np.where(wrong, 255 - picture, picture)


def lay_ready(
    config: WalkersConfig,
    folder: Path,
    label: str,
    *,
    people: int,
    conditions: int,
    views: Sequence[int],
    frames: int,
) -> None:
    """Write a cache of few people where `walkers_dataset` looks for that of `config`."""
    path = walkers_cache(config, folder, label)
    if path.exists():
        return
    with PackedWriter(path, (64, 44)) as writer:
        for person in config.numbers[:people]:
            for place, condition in enumerate(config.conditions[:conditions]):
                for view in views:
                    made = walk(person, 1000 * place + view, frames)
                    writer.add((f"{person:04d}", condition, f"{view:03d}"), made)
        writer.finish()


@pytest.fixture
def few_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, in which every population of walkers is a small one."""
    runs = tmp_path / "runs"
    for step in STEPS:
        for group in load_config(ROOT / "model" / "configs" / f"{step}.yaml").data.walkers or ():
            lay_ready(
                group, runs / "cache", "walkers", people=8, conditions=4, views=[90], frames=8
            )
    for group in LEARNED_ON:
        # Discriminants need more people than they have directions.
        lay_ready(
            group, runs / "cache", "projection", people=130, conditions=2, views=[90], frames=3
        )
    lay_ready(BENCHMARK, runs, "benchmark", people=4, conditions=10, views=[0, 90], frames=5)
    # The fewest walks with which a threshold for 1 % can be shown: 300, of which none may be named.
    lay_ready(VALIDATION, runs, "validation", people=60, conditions=5, views=[90], frames=3)
    (tmp_path / "model").symlink_to(ROOT / "model")
    monkeypatch.chdir(tmp_path)
    return runs / "walkers"


def parts_of(path: Path) -> tuple[Counter[str], dict[str, tuple[int, ...]]]:
    """The kinds of a model's nodes, and the shapes of its parameters by their names."""
    graph = onnx.load(path).graph
    return (
        Counter(node.op_type for node in graph.node),
        {tensor.name: tuple(tensor.dims) for tensor in graph.initializer},
    )


@pytest.mark.parametrize("step", [*STEPS, "others"])
def test_every_population_can_be_drawn(step: str) -> None:
    groups: tuple[WalkersConfig, ...] = (BENCHMARK, VALIDATION, *LEARNED_ON)
    if step in STEPS:
        groups = load_config(ROOT / "model" / "configs" / f"{step}.yaml").data.walkers or ()
    assert groups
    for group in groups:
        last = (group.numbers[-1], group.conditions[-1], group.views[-1])
        made = packed_walk(*last, group.settings)
        assert made.shape[1:] == (64, 44)
        assert 3 <= len(made) <= group.settings.frames


def test_nobody_is_in_two_populations() -> None:
    trained = {
        number
        for path in (ROOT / "model" / "configs").glob("*.yaml")
        if path.stem != "ablation"
        for group in load_config(path).data.walkers or ()
        for number in group.numbers
    }
    learned, scaled = {n for group in LEARNED_ON for n in group.numbers}, {*WALKERS}
    judged = [{*BENCHMARK.numbers}, {*VALIDATION.numbers}]
    for one, other in itertools.combinations([trained | scaled, learned, *judged], 2):
        assert one.isdisjoint(other)


@pytest.mark.slow
def test_make_weights_ends_with_the_files_that_ship(
    few_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of_make()
    assert [line[0] for line in lines] == [
        *["train"] * 3, "export", "compact", "quantise", "evaluate"
    ]  # fmt: skip
    for line in lines:
        shorter = ["--iterations", "3"] if line[0] == "train" else []
        assert main([*line, *shorter]) == 0, (line, capsys.readouterr().err)

    for before, after in itertools.pairwise(STEPS):
        begun = load_checkpoint(few_people.parent / after / "checkpoint.pt")
        assert begun.config.start == f"runs/{before}/checkpoint.pt"
        assert begun.iteration == 3
    for name in ("metagait.onnx", "metagait-int8.onnx"):
        made, ships = few_people / name, SHIPPED_MODEL.with_name(name)
        assert manifest_of(made).exists()
        assert parts_of(made) == parts_of(ships)
        ours, theirs = (OnnxEncoder.open(path, threads=1).facts for path in (made, ships))
        for fact in ("name", "size", "parts", "dimensions", "preprocessing_id", "precision"):
            assert getattr(ours, fact) == getattr(theirs, fact)
        assert ours.threshold is not None
        assert ours.threshold.searches == 300
        assert ours.comparison is not None
        assert set(ours.comparison.after) == {"NM", "BG", "CL"}
        assert ours.training is not None
        assert ours.training.walkers == ((1, 400), (401, 700))
    table = (few_people / "table.md").read_text(encoding="utf-8")
    facts = OnnxEncoder.open(few_people / "metagait.onnx", threads=1).facts
    # A line for each kind of probe, and one over all of them.
    assert table.count(f"| {facts.model_id}, flattened L2 |") == 4
    assert "Open set" in table
