"""Finds the walks that a command sends, and the service to send them to.

A path names one walk, or a tree `<subject>/.../<walk>` such as CASIA-B's. A walk is a folder that
holds pictures, or a file with a suffix of `FILES`. In a CASIA-B tree `<subject>/<type>/<view>`, the
parts after the subject are the condition and the view.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from service.client import Client
from service.client.walk_files import FILES, is_litter, is_picture
from service.errors import NoKeyError, NoWalksError

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class FoundWalk:
    """A walk on disk; `place` is its path below the root, the subject first."""

    path: Path
    place: PurePosixPath

    def __str__(self) -> str:
        """Return its place in a printable form, whatever bytes are in it."""
        return str(self.place).encode("utf-8", "backslashreplace").decode()

    @property
    def subject(self) -> str | None:
        """Return whose walk it is; None for a walk outside a tree."""
        return self.place.parts[0] if len(self.place.parts) > 1 else None

    @property
    def condition(self) -> str | None:
        """Return the CASIA-B type, for instance `nm-01`; None in other layouts."""
        return self.place.parts[1] if len(self.place.parts) > 2 else None

    @property
    def view(self) -> str | None:
        """Return the CASIA-B view, for instance `090`; None in other layouts."""
        return PurePosixPath(self.place.parts[2]).stem if len(self.place.parts) > 2 else None

    @property
    def metadata(self) -> dict[str, str]:
        """Return the metadata that is worth storing with the sample."""
        if self.condition is None or self.view is None:
            return {"walk": PurePosixPath(self.place.name).stem}
        return {"condition": self.condition, "view": self.view}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the service, and which walks to select."""
    parser.add_argument(
        "path",
        type=Path,
        help="a walk (a folder of PNG or JPEG pictures, or a file: "
        f"{', '.join(sorted(FILES))}), or a folder of walks: <subject>/.../<walk>",
    )
    parser.add_argument(
        "--url", default=DEFAULT_URL, help=f"address of the service (default: {DEFAULT_URL})"
    )
    parser.add_argument(
        "--key-file", type=Path, help="file with the API key, if the service has keys"
    )
    parser.add_argument(
        "--gallery", help="name of the gallery (default: the service's own gallery)"
    )
    parser.add_argument(
        "--types",
        type=_list,
        action="extend",
        metavar="T,..",
        help="only walks of these types, in CASIA-B layout: nm-01,bg-02",
    )
    parser.add_argument(
        "--views",
        type=_list,
        action="extend",
        metavar="V,..",
        help="only walks from these views, in CASIA-B layout: 000,090",
    )
    parser.add_argument(
        "--select",
        action="append",
        metavar="GLOB",
        help="only walks whose path below the folder matches, for instance '*/00_[12].*'; given "
        "several times, those that match any",
    )


def client_of(arguments: argparse.Namespace, wait: Callable[[float], object]) -> Client:
    """Return a client of the service that the arguments name; `wait` pauses it while that is busy.

    Raises:
        NoKeyError: the file of the API key cannot be read.

    """
    key, gallery = _key_of(arguments), arguments.gallery
    return Client(arguments.url, key=key, gallery=gallery, wait=wait)


def _key_of(arguments: argparse.Namespace) -> str | None:
    # From a file, as all users of a machine can see its command lines.
    path: Path | None = arguments.key_file
    try:
        return None if path is None else path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise NoKeyError(f"expected an API key in the file {path}, got: {error}") from error


def selected(arguments: argparse.Namespace) -> list[FoundWalk]:
    """Return the walks that the arguments select, in order.

    Raises:
        NoWalksError: there are none.

    """
    found = sorted(_find(arguments.path), key=_place)
    walks = [walk for walk in found if _wanted(walk, arguments)]
    if not walks:
        raise NoWalksError(_nothing(arguments.path, len(found)))
    return walks


def _nothing(path: Path, unwanted: int) -> str:
    if not path.exists():
        return f"expected a walk, or a folder of walks, at {path}, got nothing there"
    if unwanted:
        return f"expected walks below {path} that fit the selection, got {unwanted} that do not"
    kinds = f"folders of PNG or JPEG pictures, or files {', '.join(sorted(FILES))}"
    return f"expected walks at {path} ({kinds}), got none"


def _place(walk: FoundWalk) -> str:
    return str(walk.place)


def _find(root: Path) -> Iterator[FoundWalk]:
    if _is_walk(root):
        # Absolute, since `.` and `..` have no names.
        yield FoundWalk(root, PurePosixPath(Path(os.path.abspath(root)).name))
        return
    for path in _below(root, frozenset()) if root.is_dir() else ():
        if _is_walk(path):
            yield FoundWalk(path, PurePosixPath(path.relative_to(root).as_posix()))


def _below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield what is below a folder, also behind links; nothing hidden, and none in a circle."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if is_litter(path.name):
            continue
        yield path
        if path.is_dir():
            yield from _below(path, above | {here})


def _is_walk(path: Path) -> bool:
    if path.is_dir():
        return any(is_picture(child) for child in path.iterdir())
    return path.suffix.lower() in FILES


def _wanted(walk: FoundWalk, arguments: argparse.Namespace) -> bool:
    return (
        (arguments.types is None or walk.condition in arguments.types)
        and (arguments.views is None or walk.view in arguments.views)
        and (
            arguments.select is None
            or any(fnmatchcase(str(walk.place), pattern) for pattern in arguments.select)
        )
    )


def _list(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())
