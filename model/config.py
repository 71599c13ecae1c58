"""Training configurations: reads a YAML file, one per experiment, into frozen dataclasses.

Every key is a field of one of the dataclasses below. An unknown key or a value of the wrong type is
an error that names it, so a misspelt option can never silently fall back to its default.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from model.bounds import check_at_least, check_positive
from model.dataset import LAYOUTS, PARTITIONS
from model.errors import ConfigError
from model.network import NetworkConfig
from model.networks import AnyNetworkConfig
from model.sampler import SamplerConfig
from model.walkers import CONDITIONS, VIEWS, WalkerSettings

PRECISIONS = ("auto", "float32", "bfloat16")
SCHEDULES = ("constant", "cosine", "step")
LARGEST_SEED = 2**63 - 1
"""NumPy accepts no seed below 0, and torch none much above this."""

_Built = TypeVar("_Built")


@dataclass(frozen=True)
class WalkersConfig:
    """Synthetic walkers to train on: subjects `first` to `first + subjects - 1`."""

    first: int = 1
    subjects: int = 300
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    views: tuple[int, ...] = tuple(VIEWS)
    settings: WalkerSettings = field(default_factory=WalkerSettings)

    @property
    def numbers(self) -> range:
        """The subjects' numbers."""
        return range(self.first, self.first + self.subjects)


@dataclass(frozen=True)
class DataConfig:
    """Training data: a folder (packed cache or raw dataset), or walkers generated for it."""

    path: str | None = None
    layout: str | None = None
    """A key of `model.dataset.LAYOUTS`; detected from the folder if omitted."""
    partition: str | None = None
    """Train on the training half of a named partition (`model.dataset.PARTITIONS`), ..."""
    train_subjects: int | None = None
    """... or on this many subjects, the first by id, ..."""
    train_ids: tuple[str, ...] = ()
    """... or on the subjects with these ids. With none of the three, all subjects are used."""
    walkers: tuple[WalkersConfig, ...] | None = None
    """Groups of distinct subjects, each with its own settings; in YAML one group needs no list."""

    def __post_init__(self) -> None:
        """Reject contradictory settings."""
        if (self.path is None) == (self.walkers is None):
            raise ConfigError("data: expected either path or walkers, got both or neither")
        splits = [self.partition is not None, self.train_subjects is not None, bool(self.train_ids)]
        if sum(splits) > 1:
            raise ConfigError(
                "data: expected one of partition, train_subjects and train_ids, got several"
            )
        if self.walkers is not None and (any(splits) or self.layout):
            raise ConfigError(
                "data: expected layout, partition, train_subjects and train_ids beside a path, "
                "got walkers"
            )
        if self.train_subjects is not None:
            check_at_least(1, "data", self, "train_subjects")
        _expect_different(self.walkers or ())
        _expect_known("data.layout", self.layout, LAYOUTS)
        _expect_known("data.partition", self.partition, PARTITIONS)

    def elsewhere(self, folder: Path) -> "DataConfig":
        """Return a copy that reads another folder; walkers are replaced by all its subjects."""
        return dataclasses.replace(self, path=str(folder), walkers=None)


@dataclass(frozen=True)
class OptimiserConfig:
    """Settings of Adam and of the learning rate schedule."""

    learning_rate: float = 1e-4
    schedule: str = "constant"
    warm_up: int = 0
    """Iterations over which the rate rises linearly from zero."""
    steps: tuple[int, ...] = ()
    """Schedule "step": iterations at which the rate drops to a tenth."""
    weight_decay: float = 5e-4
    meta_rate: float = 1.0
    """Factor on the learning rate of parameters that provide the calibration networks' weights."""
    clip_norm: float = 0.0
    """Maximum norm of all gradients together; 0 disables clipping."""

    def __post_init__(self) -> None:
        """Reject an unknown schedule, and numbers out of range."""
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"optimiser.schedule: expected one of {SCHEDULES}, got {self.schedule!r}"
            )
        check_positive("optimiser", self, "learning_rate", "meta_rate")
        check_at_least(0, "optimiser", self, "warm_up", "weight_decay", "clip_norm")
        if bool(self.steps) != (self.schedule == "step"):
            raise ConfigError(
                "optimiser.steps: expected some with the schedule step and none without, got "
                f"{self.steps} with {self.schedule}"
            )

    def rate(self, iteration: int, iterations: int) -> float:
        """Return the learning rate of an iteration, counted from 0, out of `iterations`."""
        if iteration < self.warm_up:
            return self.learning_rate * (iteration + 1) / self.warm_up
        if self.schedule == "cosine":
            done = (iteration - self.warm_up) / max(1, iterations - self.warm_up)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        fallen = sum(iteration >= step for step in self.steps) if self.schedule == "step" else 0
        return float(self.learning_rate * 0.1**fallen)


@dataclass(frozen=True)
class LossConfig:
    """Triplet and cross-entropy loss, summed (paper, Eq. 9), and optionally a contrastive one."""

    margin: float = 0.2
    cross_entropy: float = 1.0
    """Weight of the cross-entropy; 0 disables it and the classifier."""
    contrastive: float = 0.0
    """Weight of the contrastive loss on whole embeddings, which is not in the paper."""
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Reject numbers that would undo training."""
        check_at_least(0, "loss", self, "margin", "cross_entropy", "contrastive")
        check_positive("loss", self, "temperature")


@dataclass(frozen=True)
class TrainConfig:
    """A whole experiment: data, network, sampler, optimiser and losses."""

    name: str
    data: DataConfig
    iterations: int
    seed: int = 1
    precision: str = "auto"
    compile: bool = False
    """Use torch.compile: a little faster, after minutes of compiling."""
    checkpoint_every: int = 500
    start: str | None = None
    """Initial weights, from a checkpoint or an exported model; random if omitted."""
    meta_start: float = 1.0
    """Factor on the calibration networks' random weights. At 0.1 the sigmoids start close to one
    half everywhere, and the network almost equals its trunk.
    """
    average: float = 0.0
    """Decay of the moving average of the weights, which is what gets exported; 0 disables it."""
    network: AnyNetworkConfig = field(default_factory=NetworkConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Reject values that no training can run with."""
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision: expected one of {PRECISIONS}, got {self.precision!r}")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average: expected at least 0 and below 1, got {self.average}")
        if not 0 < self.meta_start < math.inf:
            raise ConfigError(
                f"meta_start: expected more than 0 and no infinity, got {self.meta_start}"
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"seed: expected 0 to {LARGEST_SEED}, got {self.seed}")
        for key in ("iterations", "checkpoint_every"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: expected at least 1, got {getattr(self, key)}")


def load_config(path: Path) -> TrainConfig:
    """Read a configuration; with `extends: NAME`, missing keys come from NAME.yaml beside it.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing or of the wrong type.

    """
    content = read_yaml(path)
    if isinstance(content, dict) and "extends" in content:
        base = read_yaml(_beside(path, content.pop("extends")))
        if isinstance(base, dict) and "extends" in base:
            raise ConfigError(f"{path}: expected to extend a file that extends none, got a chain")
        content = _over(base, content)
    return build(TrainConfig, content)


def _beside(path: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name:
        raise ConfigError(f"extends: expected the name of a file beside {path}, got {name!r}")
    return path.with_name(f"{name}.yaml")


def read_yaml(path: Path) -> Any:
    """Read plain values from a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is not YAML.

    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ConfigError(f"expected a YAML configuration in {path}, got one too deep") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"expected a YAML configuration in {path}, got: {error}") from error


def _over(base: Any, content: Any) -> Any:
    """Merge `content` over `base`: mappings key by key, everything else as a whole."""
    if not isinstance(base, dict) or not isinstance(content, dict):
        return content
    return base | {key: _over(base.get(key), value) for key, value in content.items()}


def build(kind: type[_Built], content: Any, where: str = "") -> _Built:
    """Build a configuration dataclass from plain YAML values; errors name the place `where`.

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type.

    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where or 'configuration'}: expected keys and values, got {content!r}")
    prefix = f"{where}." if where else ""
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    unknown = [key for key in content if key not in fields]
    if unknown:
        raise ConfigError(f"{prefix}{unknown[0]}: unknown key; expected some of {sorted(fields)}")
    required = [name for name, f in fields.items() if _has_no_default(f)]
    absent = [name for name in required if name not in content]
    if absent:
        raise ConfigError(f"{prefix}{absent[0]}: expected this key, got a configuration without it")
    hints = typing.get_type_hints(kind)
    values = {key: _value(hints[key], value, prefix + key) for key, value in content.items()}
    return kind(**values)


def plain(config: Any) -> dict[str, Any]:
    """Return a configuration as plain values that `build` accepts, with tuples as lists."""
    values: dict[str, Any] = _plain(dataclasses.asdict(config))
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as type `hint`; the only conversions are int to float and list to tuple."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        hint = options[0] if len(options) == 1 else _of_kind(options, value, where)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type[Any], hint), value, where)
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: expected float, got a number too large for one") from error
    # bool is an int to Python, but `frames: true` is a mistake.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def _of_kind(options: list[Any], value: Any, where: str) -> Any:
    """Return the dataclass that the value's `kind` names; the first if it names none."""
    kinds = {option.kind: option for option in options}
    named = value.get("kind", options[0].kind) if isinstance(value, Mapping) else options[0].kind
    if named not in tuple(kinds):  # it may be of any type, even a list
        raise ConfigError(f"{where}.kind: expected one of {tuple(kinds)}, got {named!r}")
    return kinds[named]


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis and isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ConfigError(f"{where}: expected {len(kinds)} values, got {value!r}")
    pairs = zip(kinds, value, strict=True)
    return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


def _expect_different(groups: tuple[WalkersConfig, ...]) -> None:
    """Reject empty groups, and a subject in two groups: one label must be one person."""
    taken: set[int] = set()
    for group in groups:
        if group.subjects < 1 or taken.intersection(group.numbers):
            raise ConfigError(
                "data.walkers: expected one or more subjects, each in one group, got "
                f"{[(g.first, g.subjects) for g in groups]} as (first, subjects)"
            )
        taken.update(group.numbers)


def _expect_known(key: str, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise ConfigError(f"{key}: expected one of {', '.join(known)}, got {name!r}")


def _has_no_default(f: "dataclasses.Field[Any]") -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
