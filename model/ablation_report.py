"""Formats an ablation's results as one Markdown file, laid out like the paper's Tables 4 to 7."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ablation import Ablation, Line, Table
from model.bootstrap import Interval, percentile_interval
from model.caches import chosen_partition
from model.config import TrainConfig
from model.errors import DatasetError
from model.gaitset import GaitSetConfig

KINDS = ("NM", "BG", "CL")

Draws = NDArray[np.float64]
"""Rank-1 by kind of probe, as measured and then for every draw of subjects: `[B, 3]`."""
Results = Mapping[str, Mapping[int, Draws]]
"""By row, then by seed."""


def report(ablation: Ablation, results: Results, subjects: int, command: str) -> str:
    """Return the report; a row without results is a line of dashes.

    `subjects` is the number of people in the benchmark, `command` what produced the results.
    """
    head = f"# Ablation\n\n{_budget(ablation, results, subjects)}\n\n    {command}\n"
    tables = [_table(table, ablation.layout.baseline, results) for table in ablation.layout.tables]
    return "\n".join([head, *tables])


def difference(first: Mapping[int, Draws], second: Mapping[int, Draws]) -> Interval:
    """Return mean rank-1 over the kinds, `first` minus `second`, over the seeds that both have.

    Both were measured on the same searches with the same draws, so the interval is paired.

    Raises:
        DatasetError: they have no seed in common.

    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise DatasetError(f"expected a common seed, got {sorted(first)} and {sorted(second)}")
    paired = [first[seed].mean(axis=1) - second[seed].mean(axis=1) for seed in seeds]
    return percentile_interval(np.mean(paired, axis=0))


def _table(table: Table, baseline: str, results: Results) -> str:
    columns = ["", "paper: NM / BG / CL", "mean", *KINDS, "mean", f"mean − {baseline}", "by seed"]
    lines = [columns, ["---", "---", *["--:"] * 5, "--:", "---"]]
    lines += [_cells(line, baseline, results) for line in table.lines]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {table.title}\n\n{rows}\n"


def _cells(line: Line, baseline: str, results: Results) -> list[str]:
    published = [f"{figure:.1f}" for figure in line.paper]
    cells = [line.label, " / ".join(published[:3]), published[3]]
    found = results.get(line.row, {})
    if not found:
        return [*cells, *["–"] * 6]
    drawn = np.mean(list(found.values()), axis=0)  # B,3
    cells += [str(percentile_interval(drawn[:, kind])) for kind in range(len(KINDS))]
    cells.append(str(percentile_interval(drawn.mean(axis=1))))
    return cells + _compared(line.row, baseline, results)


def _compared(row: str, baseline: str, results: Results) -> list[str]:
    own, other = results[row], results.get(baseline, {})
    seeds = sorted(own.keys() & other.keys())
    if row == baseline or not seeds:
        return ["–", "–"]
    each = [100 * (own[seed][0].mean() - other[seed][0].mean()) for seed in seeds]
    return [signed(difference(own, other)), ", ".join(f"{points:+.1f}" for points in each)]


def signed(interval: Interval) -> str:
    """Format percentage points with their sign: `+1.2 [+0.3, +2.1]`."""
    low, high = (f"{100 * end:+.1f}" for end in (interval.low, interval.high))
    return f"{100 * interval.value:+.1f} [{low}, {high}]"


def _budget(ablation: Ablation, results: Results, subjects: int) -> str:
    config = next(iter(ablation.rows.values()))
    sampler, seeds = config.sampler, sorted({seed for found in results.values() for seed in found})
    return (
        f"Rank-1 in %, identical views excluded, flattened Euclidean distance, on {subjects} "
        f"subjects that no training saw; in brackets 95 % intervals, resampled by subject. Each "
        f"row: {_data(config)}, {config.iterations} iterations of {sampler.subjects} × "
        f"{sampler.samples} clips of {sampler.frames} frames, channels "
        f"{_channels(config)}, seeds {_listed(seeds)}. The column of differences is paired: the "
        f"same searches, drawn together, the mean of NM, BG and CL. Intervals tell what other "
        f"people would change; what another seed would change stands in the last column. The "
        f"paper's figures are those of CASIA-B, large-sample training, at full width."
    )


def _data(config: TrainConfig) -> str:
    if config.data.walkers is not None:
        return f"{sum(g.subjects for g in config.data.walkers)} synthetic subjects"
    split = chosen_partition(config.data)
    folder = Path(config.data.path or "").name
    return f"subjects of {folder}" + (f", the partition {split.name}" if split else ", all of them")


def _channels(config: TrainConfig) -> str:
    kind = " (GaitSet)" if isinstance(config.network, GaitSetConfig) else ""
    return f"{'/'.join(str(width) for width in config.network.channels)}{kind}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds) or "none yet"
