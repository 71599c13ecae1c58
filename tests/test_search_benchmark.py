"""The benchmark of the search: what it compares with is numpy's, and a wrong index shows."""

import importlib
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from gallery.index import ExactIndex
from tests.indexes import brute_force

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "search", raising=False)
    return importlib.import_module("search")


@pytest.fixture
def spread(bench):
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(30), 4)
    walks = rng.normal(size=(30, 128))[subjects] + rng.normal(size=(120, 128)) / 2
    return bench.measure(walks.astype(np.float32), subjects, 64)


def test_walks_of_a_subject_lie_together_and_a_subject_stays_the_same(spread):
    first, second = (spread.walks(np.repeat(np.arange(50), 3), seed) for seed in (1, 2))
    np.testing.assert_allclose(np.linalg.norm(first.reshape(150, 64, 2), axis=2), 1, rtol=1e-5)
    same = np.linalg.norm(first - second, axis=1).mean()
    others = np.linalg.norm(first - np.roll(second, 3, axis=0), axis=1).mean()
    assert same < 0.8 * others


def test_the_truth_is_found_across_blocks_and_an_index_is_held_against_it(bench, spread):
    vectors = spread.walks(np.arange(9000) // 5, 1)
    probes = bench.probes_of(spread, 9000, 10)
    plain = bench.Plain(np.full((10, 10), np.inf, np.float32))
    for block in bench.blocks(vectors, 5000 * vectors[:1].nbytes):
        plain.take(block, probes, 2)
    for probe, squared in zip(probes, plain.truth, strict=True):
        expected = brute_force(dict(enumerate(vectors)), probe, 10)[0]
        np.testing.assert_allclose(squared, expected, rtol=1e-3, atol=1e-3)
    index = ExactIndex(128)
    index.add(np.arange(9000), vectors)
    assert bench.recall(index, probes, plain.truth) == (1, 1)
    nearest = [int(index.search(probe, 1)[1][0]) for probe in probes]
    index.remove(np.array(nearest))
    one, ten = bench.recall(index, probes, plain.truth)
    assert one == 0
    assert 0.5 < ten < 1


def test_a_whole_row_is_measured(bench, spread, tmp_path, capsys):
    options = bench.argparse.Namespace(probes=6, timings=2, memory_gib=0.001)
    cells = bench.row(spread, tmp_path, 5000, options)
    assert len(cells) == len(bench.HEAD)
    assert (cells[0], cells[7], cells[8]) == ("5,000", "1.0000", "1.0000")
    assert "answers proven exact" in capsys.readouterr().err
    built = bench.Built(tmp_path, 128, 5000, 0.0)
    probes = bench.probes_of(spread, 5000, 6)
    plain = bench.Plain(np.full((6, 10), np.inf, np.float32))
    plain.take(built.originals, probes, 2)
    bench.on_gpu(built, probes, plain.truth, faiss.IndexFlatL2)
    assert "recall@1 1.0000, recall@10 1.0000" in capsys.readouterr().err
