"""What a dataset lacks and what had to be left out: counted, listed, never silently dropped."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

SHORT = 15
"""A sample of fewer frames than this is listed as short; it is used all the same."""

Place = tuple[str, str, str]
"""Subject, condition and view of one sample."""


@dataclass(frozen=True)
class Grid:
    """The samples that a dataset promises: every subject in every condition from every view."""

    subjects: tuple[str, ...]
    conditions: tuple[str, ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Names of subjects, samples and files, with the reason where there is one."""

    missing_subjects: tuple[str, ...] = ()
    """Subjects that the dataset promises and of whom there is no sample."""
    missing: tuple[str, ...] = ()
    """Samples that are not there although their subject is."""
    empty: tuple[str, ...] = ()
    """Samples without a picture, or without a body in any of them; left out."""
    short: tuple[str, ...] = ()
    """Samples of fewer than `SHORT` frames; used."""
    broken: tuple[str, ...] = ()
    """Files and samples that could not be read; left out."""
    partial: tuple[str, ...] = ()
    """Samples with some frames that show no whole body; used without those frames."""
    doubtful: tuple[str, ...] = ()
    """Samples that do not look like white bodies on black; used."""
    ignored: tuple[str, ...] = ()
    """Files and folders that the layout has no place for."""

    def lines(self, shown: int = 5) -> list[str]:
        """One line for each kind of trouble there is, naming the first few."""
        found = [(kind, names) for kind, names in asdict(self).items() if names]
        return [
            f"{len(names)} {_WORDS.get(kind, kind)}: "
            f"{', '.join(names[:shown])}{', …' if len(names) > shown else ''}"
            for kind, names in found
        ]

    def as_json(self) -> dict[str, list[str]]:
        """Return the whole lists as plain values, which `from_json` takes back."""
        return {kind: list(names) for kind, names in asdict(self).items()}

    @classmethod
    def of(cls, reports: Iterable["Report"]) -> "Report":
        """Put several reports together."""
        contents = [report.as_json() for report in reports]
        return cls(**{f.name: tuple(n for c in contents for n in c[f.name]) for f in fields(cls)})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Report":
        """Read back what `as_json` gave.

        Raises:
            TypeError: it is something else.

        """
        if not all(isinstance(n, str) for names in content.values() for n in names):
            raise TypeError("a report of something else than names")
        return cls(**{kind: tuple(names) for kind, names in content.items()})


_WORDS = {
    "missing_subjects": "missing subjects",
    "partial": "with frames that show no whole body",
    "doubtful": "that do not look like silhouettes",
}


@dataclass
class Findings:
    """Collects trouble while a source is read; `report` closes it."""

    empty: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        """Take in what another reader found."""
        self.empty += other.empty
        self.broken += other.broken
        self.partial += other.partial
        self.doubtful += other.doubtful
        self.ignored += other.ignored

    def report(self, lengths: Mapping[Place, int], grid: Grid | None = None) -> Report:
        """Compare the samples (their frames by place) with the grid that was promised.

        Without a grid it is that of the samples' own subjects, conditions and views, as long as
        at least half of it is filled: a tree in which every subject has conditions of its own
        promises nothing.
        """
        own = _own_grid(lengths)
        wanted = grid or (own if 2 * len(lengths) >= _cells(own) else Grid((), (), ()))
        known = {place[0] for place in lengths} | {name.partition("/")[0] for name in self.empty}
        listed = {name.partition(" ")[0] for name in (*self.empty, *self.broken)}
        subjects = sorted(known & {*wanted.subjects}) if grid else wanted.subjects
        places = product(subjects, wanted.conditions, wanted.views)
        absent = ("/".join(place) for place in places if place not in lengths)
        return Report(
            missing_subjects=tuple(s for s in wanted.subjects if s not in known),
            missing=tuple(name for name in absent if name not in listed),
            empty=tuple(self.empty),
            short=tuple(_short(lengths)),
            broken=tuple(self.broken),
            partial=tuple(self.partial),
            doubtful=tuple(self.doubtful),
            ignored=tuple(self.ignored),
        )


def few(names: Collection[str], shown: int = 4) -> str:
    """Name the first few, and say how many there are."""
    ordered = sorted(names)
    return ", ".join(ordered[:shown]) + (f", … ({len(ordered)})" if len(ordered) > shown else "")


def _short(lengths: Mapping[Place, int]) -> Iterable[str]:
    return (f"{'/'.join(p)} ({count} frames)" for p, count in lengths.items() if count < SHORT)


def _own_grid(places: Iterable[Place]) -> Grid:
    subjects, conditions, views = (tuple(sorted(set(n))) for n in zip(*places, strict=True))
    return Grid(subjects, conditions, views)


def _cells(grid: Grid) -> int:
    return len(grid.subjects) * len(grid.conditions) * len(grid.views)
