"""Trees of PNG files: `<id>/<type>/<view>/` and OU-MVLP's `Silhouette_<view>-<seq>/<id>/`."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.dataset.raw import MAX_PICTURE_BYTES, AlignedWalk, Pictures, Portion, Scan
from model.dataset.report import Findings, is_text

OU_MVLP_FOLDER = re.compile(r"Silhouette_([0-9]{3})-([0-9]{2})")


@dataclass(frozen=True)
class SubjectFolders:
    """The folders of one subject's samples: condition, view and path of each."""

    subject: str
    samples: tuple[tuple[str, str, Path], ...]

    @property
    def name(self) -> str:
        """The subject's id."""
        return self.subject

    def stamp(self) -> str:
        """Return names and times of the folders; the times change when files come or go."""
        return " ".join(f"{c}/{v} {path.stat().st_mtime_ns}" for c, v, path in self.samples)

    def walks(self, size: tuple[int, int], findings: Findings) -> Iterator[AlignedWalk]:
        """Read and align the samples one by one."""
        for condition, view, path in self.samples:
            pictures = Pictures((self.subject, condition, view))
            for entry in _entries(path):
                self._take(entry, pictures, findings)
            yield from pictures.aligned(size, findings)

    def _take(self, entry: "os.DirEntry[str]", pictures: Pictures, findings: Findings) -> None:
        where = f"{'/'.join(pictures.place)}/{entry.name}"
        if not entry.name.lower().endswith(".png") or not entry.is_file():
            findings.ignored.append(where)
        elif entry.stat().st_size > MAX_PICTURE_BYTES:
            findings.broken.append(f"{where} (larger than {MAX_PICTURE_BYTES} bytes)")
        else:
            pictures.files[entry.name] = Path(entry.path).read_bytes()


def scan_tree(root: Path) -> Scan:
    """Find the samples of `root/<id>/<type>/<view>/`."""
    ignored: list[str] = []
    portions: list[Portion] = []
    for subject in _folders(root, root, ignored):
        samples = tuple(
            (condition.name, view.name, view)
            for condition in _folders(subject, root, ignored)
            for view in _folders(condition, root, ignored)
        )
        if samples:
            portions.append(SubjectFolders(subject.name, samples))
        else:
            ignored.append(f"{subject.name}/ (no <type>/<view> in it)")
    return Scan(tuple(portions), tuple(ignored))


def scan_ou_mvlp(root: Path) -> Scan:
    """Find the samples of `root/Silhouette_<view>-<seq>/<id>/`; the sequence is the condition."""
    ignored: list[str] = []
    found: dict[str, list[tuple[str, str, Path]]] = {}
    for folder in _folders(root, root, ignored):
        match = OU_MVLP_FOLDER.fullmatch(folder.name)
        if match is None:
            ignored.append(f"{folder.name}/")
            continue
        view, sequence = match.groups()
        for subject in _folders(folder, root, ignored):
            found.setdefault(subject.name, []).append((sequence, view, subject))
    portions = (SubjectFolders(name, tuple(sorted(found[name]))) for name in sorted(found))
    return Scan(tuple(portions), tuple(ignored))


def _folders(folder: Path, root: Path, ignored: list[str]) -> Iterator[Path]:
    """Yield the folders in a folder, in order, and record everything else as ignored."""
    for entry in _entries(folder):
        path = Path(entry.path)
        name = path.relative_to(root).as_posix()
        if not entry.is_dir():
            ignored.append(name)
        elif not is_text(entry.name):
            ignored.append(f"{name}/ (a name that is not UTF-8)")
        else:
            yield path


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
