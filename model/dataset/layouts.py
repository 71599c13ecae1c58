"""Defines how datasets are laid out on disk, and recognises the layout of a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.dataset.archives import SUFFIXES, is_archive, scan_archives
from model.dataset.packed import is_packed
from model.dataset.raw import Scan
from model.dataset.report import Grid, few
from model.dataset.trees import OU_MVLP_FOLDER, scan_ou_mvlp, scan_tree
from model.errors import DatasetError

CASIA_B = Grid(
    subjects=tuple(f"{number:03d}" for number in range(1, 125)),
    conditions=(
        *(f"nm-{number:02d}" for number in range(1, 7)),
        *(f"bg-{number:02d}" for number in range(1, 3)),
        *(f"cl-{number:02d}" for number in range(1, 3)),
    ),
    views=tuple(f"{view:03d}" for view in range(0, 181, 18)),
)
"""Yu et al., ICPR 2006: 124 subjects, 10 walks, 11 views."""

OU_MVLP = Grid(
    subjects=tuple(f"{number:05d}" for number in range(1, 10308)),
    conditions=("00", "01"),
    views=tuple(f"{view:03d}" for view in (*range(0, 91, 15), *range(180, 271, 15))),
)
"""Takemura et al., 2018: 10,307 subjects, 2 sequences, 14 views."""


@dataclass(frozen=True)
class Layout:
    """One way to lay out a dataset on disk."""

    name: str
    looks: str
    """What the folder is expected to contain, in words for the user."""
    fits: Callable[[Path], bool]
    scan: Callable[[Path], Scan]
    grid: Grid | None = None
    """The samples that the dataset should have."""


def layout_of(root: Path, name: str | None = None) -> Layout:
    """Return the named layout, or recognise the folder's layout.

    Raises:
        DatasetError: the folder does not exist, fits no layout or several, or does not fit the
            named one.

    """
    if not root.is_dir():
        what = "a file" if root.exists() else "not there"
        raise DatasetError(
            f"expected a dataset folder, got {root}, which is {what}; docs/datasets.md tells how "
            "to bring one"
        )
    if name is not None and name not in LAYOUTS:
        raise DatasetError(f"expected a layout of {', '.join(LAYOUTS)}, got {name!r}")
    wanted = [LAYOUTS[name]] if name else list(LAYOUTS.values())
    found = [layout for layout in wanted if layout.fits(root)]
    if len(found) > 1:
        found = [layout for layout in found if layout.name != "tree"]
    if len(found) != 1:
        raise DatasetError(_unrecognised(root, wanted, found))
    return found[0]


def is_opengait(root: Path) -> bool:
    """Return whether the folder is an OpenGait tree, `<id>/<type>/<view>/*.pkl`."""
    return any(root.glob("*/*/*/*.pkl"))


def _unrecognised(root: Path, wanted: list[Layout], found: list[Layout]) -> str:
    if found:
        names = " and ".join(layout.name for layout in found)
        return f"expected one layout in {root}, got {names}; name the one to use"
    if is_packed(root):
        return f"expected a raw dataset in {root}, got a packed cache"
    near = near_by(root, lambda folder: any(layout.fits(folder) for layout in wanted), "*.png")
    if near is not None:
        return f"expected the folder in which a dataset's own folders lie, got {root}; try {near}"
    if is_opengait(root):
        return (
            f"expected pictures in {root}, got an OpenGait tree of .pkl files; bring it in with "
            f"`metagait convert`"
        )
    looks = "; or ".join(f"{layout.looks} ({layout.name})" for layout in wanted)
    there = few([f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir()])
    return f"expected in {root}: {looks}; got {there or 'an empty folder'}"


def near_by(root: Path, fits: Callable[[Path], bool], files: str) -> Path | None:
    """Return a folder directly below that fits, or the parent if `root` is a subject's folder.

    `files` is the pattern of a sample's files, such as `*.png`.
    """
    inside = sorted(path for path in root.iterdir() if path.is_dir())
    # One match is enough, and there may be thousands of folders.
    if found := next((folder for folder in inside[:10] if fits(folder)), None):
        return found
    too_deep = any(root.glob(f"*/*/{files}")) or OU_MVLP_FOLDER.fullmatch(root.name)
    return root.absolute().parent if too_deep else None


def grid_of_tree(root: Path) -> Grid | None:
    """Return the grid that a tree `<id>/<type>/<view>` should fill, if it is a known dataset's."""
    return next((grid for grid in (CASIA_B, OU_MVLP) if _is_named_as(grid, root)), None)


def _is_named_as(grid: Grid, root: Path) -> bool:
    """Return whether the non-empty folders have the grid's ids and conditions."""
    folders = (path for path in root.iterdir() if path.is_dir())
    held = {folder.name: {path.name for path in folder.iterdir()} for folder in folders}
    ids = {subject for subject, conditions in held.items() if conditions}
    conditions = {name for subject in ids for name in held[subject]}
    return ids <= set(grid.subjects) and not conditions.isdisjoint(grid.conditions)


def _is_casia_b(root: Path) -> bool:
    return _is_tree(root) and _is_named_as(CASIA_B, root)


def _is_ou_mvlp_tree(root: Path) -> bool:
    return _is_tree(root) and _is_named_as(OU_MVLP, root)


def _is_tree(root: Path) -> bool:
    picture = next(root.glob("*/*/*/*.png"), None)
    # The folder above OU-MVLP's would look like a tree of one subject, its views as conditions.
    return picture is not None and not OU_MVLP_FOLDER.fullmatch(picture.parent.parent.name)


def _is_ou_mvlp(root: Path) -> bool:
    return any(OU_MVLP_FOLDER.fullmatch(path.name) for path in root.iterdir() if path.is_dir())


def _has_archives(root: Path) -> bool:
    return any(is_archive(path) for path in root.iterdir())


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "casia-b",
            "folders 001/nm-01/000/ of PNG files, ids 001 to 124",
            _is_casia_b,
            scan_tree,
            CASIA_B,
        ),
        Layout(
            "casia-b-tar",
            f"an archive for each subject, 001.tar.gz to 124.tar.gz ({', '.join(SUFFIXES)})",
            _has_archives,
            scan_archives,
            CASIA_B,
        ),
        Layout(
            "oumvlp",
            "folders Silhouette_<view>-<seq>/<id>/ of PNG files",
            _is_ou_mvlp,
            scan_ou_mvlp,
            OU_MVLP,
        ),
        Layout(
            "oumvlp-tree",
            "folders <id>/<seq>/<view>/ of PNG files, ids 00001 to 10307",
            _is_ou_mvlp_tree,
            scan_tree,
            OU_MVLP,
        ),
        Layout("tree", "folders <id>/<type>/<view>/ of PNG files", _is_tree, scan_tree),
    )
}
"""Layouts by name; `tree` is for every dataset without a layout of its own."""
