"""Packs a raw dataset into a cache, portion by portion, in several processes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from model.dataset.layouts import Layout
from model.dataset.packed import PackedWriter
from model.dataset.raw import AlignedWalk, Portion, Scan
from model.dataset.report import Findings, Report
from model.errors import DatasetError
from model.parallel import mapped

Progress = Callable[[str], None]
"""Called with the name of each portion once it is on disk."""


def pack(
    scan: Scan,
    out: Path,
    size: tuple[int, int],
    *,
    layout: Layout,
    workers: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Write all usable walks as a packed cache, and return a report on everything else.

    The cache gets its name only when it is complete; its bytes do not depend on `workers`. The
    report is also stored in the index, so that it is available whenever the cache is opened.

    Raises:
        DatasetError: no walk could be read, or `out` exists.

    """
    if workers < 1:
        raise DatasetError(f"expected 1 or more workers, got {workers}")
    findings = Findings(ignored=list(scan.ignored))
    with PackedWriter(out, size) as writer:
        for name, walks, found in _read(scan.portions, size, workers):
            for place, silhouettes in walks:
                _add(writer, (place, silhouettes), found)
            findings.add(found)
            if progress:
                progress(name)
        if not writer.lengths:
            raise DatasetError(_nothing(layout, findings))
        report = findings.report(writer.lengths, layout.grid)
        writer.finish(layout=layout.name, report=report.as_json())
    return report


def _read(
    portions: Sequence[Portion], size: tuple[int, int], workers: int
) -> Iterator[tuple[str, list[AlignedWalk], Findings]]:
    return mapped(partial(_read_portion, size=size), portions, workers)


_Read = tuple[str, list[AlignedWalk], Findings]


def _read_portion(portion: Portion, size: tuple[int, int]) -> _Read:
    findings = Findings()
    try:
        walks = list(portion.walks(size, findings))
    except (DatasetError, OSError) as error:
        findings.broken.append(f"{portion.name} ({error})")
        walks = []
    return portion.name, walks, findings


def _add(writer: PackedWriter, walk: AlignedWalk, findings: Findings) -> None:
    """Write a walk; a second one with the same name is reported instead of written."""
    place, silhouettes = walk
    if place in writer.lengths:
        findings.broken.append(f"{'/'.join(place)} (a second sample of this name)")
    else:
        writer.add(place, silhouettes)


def _nothing(layout: Layout, findings: Findings) -> str:
    troubles = (*findings.broken, *findings.empty, *findings.ignored)
    return f"expected {layout.looks}, got no walk that can be used: {'; '.join(troubles[:3])}"
