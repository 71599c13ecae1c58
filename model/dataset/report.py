"""Reports what a dataset lacks and what was left out: counted and listed, nothing lost silently."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any

SHORT = 15
"""Samples with fewer frames are listed as short, but used all the same."""

Place = tuple[str, str, str]
"""Subject, condition and view of one sample."""


@dataclass(frozen=True)
class Grid:
    """The samples a dataset should have: every subject in every condition from every view."""

    subjects: tuple[str, ...]
    conditions: tuple[str, ...]
    views: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Names of subjects, samples and files, with reasons where there are any."""

    missing_subjects: tuple[str, ...] = ()
    """Subjects that the dataset should have but that have no sample."""
    missing: tuple[str, ...] = ()
    """Samples that do not exist although their subject does."""
    empty: tuple[str, ...] = ()
    """Samples without a picture, or without a body in any picture; left out."""
    short: tuple[str, ...] = ()
    """Samples with fewer than `SHORT` frames; used."""
    broken: tuple[str, ...] = ()
    """Files and samples that could not be read; left out."""
    partial: tuple[str, ...] = ()
    """Samples with some frames that show no whole body; used without those frames."""
    doubtful: tuple[str, ...] = ()
    """Samples that do not look like white bodies on black; used."""
    ignored: tuple[str, ...] = ()
    """Files and folders that do not fit the layout."""

    def lines(self, shown: int = 5) -> list[str]:
        """Return one line per kind of problem found, naming the first few."""
        found = [(kind, names) for kind, names in asdict(self).items() if names]
        return [
            f"{len(names)} {_WORDS.get(kind, kind)}: "
            f"{', '.join(names[:shown])}{', …' if len(names) > shown else ''}"
            for kind, names in found
        ]

    def as_json(self) -> dict[str, list[str]]:
        """Return the full lists as plain values, which `from_json` accepts."""
        return {kind: list(names) for kind, names in asdict(self).items()}

    @classmethod
    def of(cls, reports: Iterable["Report"]) -> "Report":
        """Combine several reports."""
        contents = [report.as_json() for report in reports]
        return cls(**{f.name: tuple(n for c in contents for n in c[f.name]) for f in fields(cls)})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Report":
        """Restore a report from the output of `as_json`.

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
    """Collects problems while a source is read; `report` turns them into a report."""

    empty: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        """Merge what another reader found."""
        self.empty += other.empty
        self.broken += other.broken
        self.partial += other.partial
        self.doubtful += other.doubtful
        self.ignored += other.ignored

    def report(self, lengths: Mapping[Place, int], grid: Grid | None = None) -> Report:
        """Compare the samples (frame counts by place) with the expected grid, and return a report.

        Without a grid, that of the samples' own subjects, conditions and views is expected, if at
        least half of it is filled; a tree in which every subject has its own conditions sets no
        expectation.
        """
        own = _own_grid(lengths)
        wanted = grid or (own if 2 * len(lengths) >= _cells(own) else Grid((), (), ()))
        known = {place[0] for place in lengths} | {name.partition("/")[0] for name in self.empty}
        listed = {name for line in (*self.empty, *self.broken) for name in _names_in(line)}
        subjects = sorted(known & {*wanted.subjects}) if grid else wanted.subjects
        places = product(subjects, wanted.conditions, wanted.views)
        absent = ("/".join(place) for place in places if place not in lengths)
        return Report(
            missing_subjects=_shown(s for s in wanted.subjects if s not in known),
            missing=_shown(name for name in absent if name not in listed),
            empty=_shown(self.empty),
            short=_shown(_short(lengths)),
            broken=_shown(self.broken),
            partial=_shown(self.partial),
            doubtful=_shown(self.doubtful),
            ignored=_shown(self.ignored),
        )


def is_text(name: str) -> bool:
    """Return whether a file's name was UTF-8; Python gives other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names_in(line: str) -> Iterable[str]:
    """Return what may be the name in `name (reason)`; either may hold parentheses of its own."""
    return (line[: found.start()] for found in re.finditer(r" \(", line))


def _shown(names: Iterable[str]) -> tuple[str, ...]:
    """Escape what is not UTF-8 in names, so that they can be printed."""
    return tuple(name.encode(errors="backslashreplace").decode() for name in names)


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
