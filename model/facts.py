"""Facts about a model that travel in its file: sizes, preprocessing, precision, threshold."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from model.errors import ModelFileError
from model.silhouettes import PREPROCESSING_ID

SHIPPED_MODEL = Path(__file__).parent / "weights" / "metagait.onnx"
METADATA_KEY = "metagait"
"""Key of the ONNX metadata that holds the facts as JSON."""
FLOAT32 = "float32"
BFLOAT16 = "bfloat16"
FLOAT16 = "float16"
_MOST = 1e9
"""No fact is a number as large."""


@dataclass(frozen=True)
class Threshold:
    """A decision threshold, with the error rates measured for it."""

    distance: float
    target_fpir: float
    fnir: float
    """Share of enrolled subjects missed at this distance, in the same measurement."""
    gallery_subjects: int
    """Subjects in the galleries that were searched; a larger gallery needs a new measurement."""
    searches: int
    """Number of non-mated searches behind the figure."""
    source: str
    """Describes the walks, for human readers."""
    inconclusive_to: float | None = None
    """Distances above `distance` up to this one are inconclusive; None in older files."""

    def check(self) -> None:
        """Raise ValueError for numbers that no measurement gives."""
        band = self.distance if self.inconclusive_to is None else self.inconclusive_to
        if not 0 <= self.distance <= band:
            raise ValueError(f"expected distances for the threshold, got {self.distance}, {band}")
        if not (0 <= self.target_fpir <= 1 and 0 <= self.fnir <= 1):
            raise ValueError(f"expected shares, got FPIR {self.target_fpir} and FNIR {self.fnir}")
        if self.gallery_subjects < 0 or self.searches < 0:
            raise ValueError(f"expected counts, got {self.gallery_subjects}, {self.searches}")


@dataclass(frozen=True)
class Comparison:
    """What a variant of a model lost: rank-1 in percent on each set, before and after."""

    source: str
    """Id of the file it was made from."""
    before: dict[str, float]
    after: dict[str, float]
    subjects: int
    """Number of benchmark walkers behind the figures; 50 is all of them."""
    kept_energy: float | None = None
    """Share of the squared distances from the mean that a projection kept on them."""


@dataclass(frozen=True)
class TrainedOn:
    """Whom a model was trained on: enough to choose others for a test, but nobody's id."""

    subjects: int
    walkers: tuple[tuple[int, int], ...] = ()
    """First and last number of each group of synthetic walkers; empty if a folder was used."""
    layout: str | None = None
    """Layout of the folder, as named in the configuration."""
    partition: str | None = None
    """The partition whose training half was used; None if all subjects were."""
    start: str | None = None
    """File of the initial weights, whose own training is not recorded here."""

    def __str__(self) -> str:
        """Return a phrase that fits into a sentence."""
        if self.walkers:
            spans = ", ".join(f"{first} to {last}" for first, last in self.walkers)
            what = f"the synthetic walkers {spans}"
        else:
            half = f", the partition {self.partition}" if self.partition else ", all there were"
            what = f"{self.subjects} subjects of a {self.layout or 'dataset'} folder{half}"
        return what + (f", from the weights of {self.start}" if self.start else "")


@dataclass(frozen=True)
class ModelFacts:
    """The facts that travel in a model's file, and the id computed from its bytes."""

    model_id: str
    """Name and the first 12 hex digits of the file's SHA-256: `metagait-demo-0123456789ab`."""
    name: str
    size: tuple[int, int]
    parts: int
    dimensions: int
    preprocessing_id: str
    max_frames: int
    threshold: Threshold | None
    precision: str = FLOAT32
    """Arithmetic that the file asks for: float32, float16 or int8."""
    comparison: Comparison | None = None
    """For a variant: comparison with the file it was made from."""
    training: TrainedOn | None = None
    """None in files written before it was recorded."""

    @property
    def embedding_length(self) -> int:
        """Length of a flattened embedding, P·D."""
        return self.parts * self.dimensions

    def computed_in(self, arithmetic: str) -> "ModelFacts":
        """Return the facts under another id, for arithmetic whose embeddings are not comparable.

        The id ends in the same digits, but a gallery treats it as another model:
        `metagait-demo-bfloat16-0123456789ab`.
        """
        name = f"{self.name}-{arithmetic}"
        digits = self.model_id.rpartition("-")[2]
        return replace(self, name=name, model_id=f"{name}-{digits}")

    def to_json(self) -> str:
        """Return everything but the id as JSON; the id follows from the file itself."""
        facts = asdict(self)
        del facts["model_id"]
        return json.dumps(facts)

    @classmethod
    def from_json(cls, text: str, digest: str) -> "ModelFacts":
        """Parse what `to_json` wrote.

        Raises:
            AttributeError, KeyError, RecursionError, TypeError, ValueError: it is anything else.

        """
        facts: dict[str, Any] = json.loads(text)
        threshold = facts.pop("threshold")
        comparison = facts.pop("comparison", None)
        training = facts.pop("training", None)
        facts["size"] = tuple(facts["size"])
        read = cls(
            model_id=f"{facts['name']}-{digest[:12]}",
            threshold=None if threshold is None else Threshold(**threshold),
            comparison=None if comparison is None else Comparison(**comparison),
            training=None if training is None else _trained_on(**training),
            **facts,
        )
        read._check()
        return read

    def _check(self) -> None:
        """Raise ValueError for bad values that would otherwise surface only with the first walk."""
        for part in (self, self.threshold, self.comparison, self.training):
            _check_types(part)
        numbers = (*self.size, self.parts, self.dimensions, self.max_frames)
        if not all(0 < number < _MOST for number in numbers):
            raise ValueError(f"expected whole numbers above 0 for the sizes, got {numbers}")
        if self.threshold is not None:
            self.threshold.check()


def _trained_on(walkers: Sequence[Sequence[int]], **facts: Any) -> TrainedOn:
    return TrainedOn(walkers=tuple((first, last) for first, last in walkers), **facts)


def _check_types(part: Any) -> None:
    """Raise ValueError if a field of a dataclass is of another type than it declares."""
    if part is None:
        return
    for name, hint in get_type_hints(type(part)).items():
        value = getattr(part, name)
        if not _fits(value, hint):
            raise ValueError(f"expected another value for {name}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type that the facts use; numbers must be finite."""
    kinds = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    if get_origin(hint) is dict:
        items = value.items() if isinstance(value, dict) else [(None, None)]
        return all(
            _fits(item, kind) for pair in items for item, kind in zip(pair, kinds, strict=True)
        )
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if hint is float:
        return type(value) in (int, float) and -_MOST < value < _MOST
    return type(value) is hint


class Value(NamedTuple):
    """An input or output of a graph, independent of the engine; free axes are None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def read_facts(text: str | None, content: bytes, path: Path) -> ModelFacts:
    """Read the facts inside a model file.

    Args:
        text: the file's metadata under `METADATA_KEY`, if any.
        content: the bytes of the file, which determine the id.
        path: where it came from, for error messages.

    Raises:
        ModelFileError: the facts are missing or unreadable, or the preprocessing is another.

    """
    if text is None:
        raise ModelFileError(f"{path} is not a model that metagait exported: it holds no facts")
    try:
        facts = ModelFacts.from_json(text, hashlib.sha256(content).hexdigest())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelFileError(f"the facts inside {path} cannot be read: {error!r}") from error
    if facts.preprocessing_id != PREPROCESSING_ID:
        raise ModelFileError(
            f"{path} expects preprocessing {facts.preprocessing_id!r}, this version does "
            f"{PREPROCESSING_ID!r}: export the model again with this version"
        )
    return facts


def check_interface(values: Sequence[Value], facts: ModelFacts, path: Path) -> None:
    """Raise ModelFileError if the graph's inputs and outputs do not match the facts."""
    expected = [
        Value("silhouettes", "uint8", (None, None, *facts.size)),
        Value("lengths", "int64", (None,)),
        Value("embedding", FLOAT32, (None, facts.parts, facts.dimensions)),
    ]
    if list(values) != expected:
        raise ModelFileError(
            f"expected {path} to take and give {_named(expected)}, got {_named(values)}"
        )


def _named(values: Sequence[Value]) -> str:
    return ", ".join(f"{value.name} {value.dtype} {list(value.shape)}" for value in values)
