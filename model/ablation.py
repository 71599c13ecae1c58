"""Defines an ablation: named rows over one base configuration, and the tables that show them.

A row may change only the network, so by construction all rows have the same budget, data and seeds.
The file is model/configs/ablation.yaml; `metagait ablate` trains it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.config import TrainConfig, build, load_config, plain, read_yaml
from model.errors import ConfigError


@dataclass(frozen=True)
class Line:
    """One line of a table: a row, its label there, and the paper's own figures."""

    row: str
    label: str
    paper: tuple[float, float, float, float]
    """Rank-1 in % on CASIA-B, large-sample training: NM, BG, CL and their mean."""


@dataclass(frozen=True)
class Table:
    """Lines under a title; a row may appear in several tables."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Tables:
    """The part of the file that defines how results are laid out."""

    baseline: str
    """The row that all others are compared with."""
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Ablation:
    """Rows by name, each a complete training configuration, and the tables to fill."""

    rows: dict[str, TrainConfig]
    layout: Tables

    def of(self, names: tuple[str, ...]) -> dict[str, TrainConfig]:
        """Return the named rows, in the file's order.

        Raises:
            ConfigError: a name is unknown.

        """
        unknown = [name for name in names if name not in self.rows]
        if unknown:
            raise ConfigError(f"rows: expected some of {tuple(self.rows)}, got {unknown[0]!r}")
        return {name: config for name, config in self.rows.items() if name in names}

    def shortened(self, iterations: int) -> "Ablation":
        """Return the same rows with another number of iterations."""
        rows = {name: replace(row, iterations=iterations) for name, row in self.rows.items()}
        return replace(self, rows=rows)

    def budget(self) -> dict[str, Any]:
        """Return what all rows share: data, sampler, optimiser, losses, iterations and the like."""
        row = plain(next(iter(self.rows.values())))
        return {key: row[key] for key in row if key not in {"name", "network", "seed"}}


def load_ablation(path: Path, base: Path | None = None) -> Ablation:
    """Read an ablation; `base`, a training configuration, replaces the file's own.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or missing, a table names a row that
            does not exist, or the rows' networks take silhouettes of different sizes.

    """
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("rows"), Mapping):
        raise ConfigError(f"expected keys and values, and rows among them, in {path}")
    rest = {key: value for key, value in content.items() if key not in {"base", "rows"}}
    layout = build(Tables, rest)
    common = plain(load_config(base)) if base else content.get("base")
    if not isinstance(common, Mapping):
        raise ConfigError(f"base: expected a training configuration, got {common!r}")
    rows = {str(name): _row(name, network, common) for name, network in content["rows"].items()}
    named = [layout.baseline, *(line.row for table in layout.tables for line in table.lines)]
    absent = [name for name in named if name not in rows]
    if absent:
        raise ConfigError(f"tables: expected rows among {tuple(rows)}, got {absent[0]!r}")
    sizes = {config.network.size for config in rows.values()}
    if len(sizes) > 1:
        raise ConfigError(f"rows: expected networks of one size, got {sorted(sizes)}")
    return Ablation(rows, layout)


def seeded(config: TrainConfig, seed: int) -> TrainConfig:
    """Return a row's configuration with another seed."""
    return replace(config, seed=seed)


def _row(name: object, network: Any, base: Mapping[str, Any]) -> TrainConfig:
    if not isinstance(network, Mapping):
        raise ConfigError(f"rows.{name}: expected keys of a network, got {network!r}")
    common = base.get("network", {})
    if "kind" in network and network["kind"] != common.get("kind", "metagait"):
        # A network of another kind shares only these keys.
        common = {key: common[key] for key in ("size", "channels", "dimensions") if key in common}
    try:
        return build(TrainConfig, {**base, "name": name, "network": {**common, **network}})
    except ConfigError as error:
        raise ConfigError(f"rows.{name}: {error}") from error
