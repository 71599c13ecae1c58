"""CASIA-B as distributed: one tar archive per subject, read without unpacking anything to disk.

`001.tar.gz` holds `001/nm-01/000/001-nm-01-000-001.png` and so on. Each archive is read once from
front to back and nothing is ever written, so no member can write outside its place. Members that
are not a picture in its place (links, devices, absolute names, names with `..`, nested archives)
are listed as ignored. A damaged archive is refused as a whole, as any of its walks may lack frames.
"""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.dataset.raw import MAX_PICTURE_BYTES, AlignedWalk, Pictures, Scan
from model.dataset.report import Findings, Place, is_text
from model.errors import DatasetError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_ARCHIVE_BYTES = 2 * 1024**3
"""Maximum size of one archive, unpacked; CASIA-B's hold some 20 MiB."""
MAX_NAME_BYTES = 64 * 1024

# tarfile raises ValueError for a malformed list of holes (sparse files).
_UNREADABLE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
_NAMES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass(frozen=True)
class SubjectArchive:
    """One subject's tar archive, as a portion."""

    path: Path

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.path.name

    def stamp(self) -> str:
        """Return size and modification time of the file."""
        status = self.path.stat()
        return f"{self.name} {status.st_size} {status.st_mtime_ns}"

    def walks(self, size: tuple[int, int], findings: Findings) -> Iterator[AlignedWalk]:
        """Read the whole archive, then align its samples one by one.

        Raises:
            DatasetError: the archive is damaged or too large.

        """
        try:
            with tarfile.open(self.path, "r:*", tarinfo=_StrictMember) as archive:
                samples = self._samples(archive, findings)
                _read_to_the_end(archive)
        except _UNREADABLE as error:
            raise DatasetError(f"expected a whole tar archive, got: {error}") from error
        for place in sorted(samples):
            yield from samples[place].aligned(size, findings)

    def _samples(self, archive: tarfile.TarFile, findings: Findings) -> dict[Place, Pictures]:
        samples: dict[Place, Pictures] = {}
        folders: set[PurePosixPath] = set()
        for member in archive:
            _check_end(member.offset_data + member.size)
            path = PurePosixPath(member.name)
            place = self._place(path.parent)
            if member.isdir() and _stays_inside(path):
                folders.add(path)
            elif place is None or (trouble := _trouble(member)):
                reason = trouble if place else "not in <type>/<view>/"
                findings.ignored.append(f"{self.name}: {member.name} ({reason})")
            elif member.size > MAX_PICTURE_BYTES:
                findings.broken.append(f"{self.name}: {member.name} ({member.size} bytes)")
            elif (file := archive.extractfile(member)) is not None:
                samples.setdefault(place, Pictures(place)).files[path.name] = file.read()
        for folder in folders - {parent for path in folders for parent in path.parents}:
            if place := self._place(folder):
                samples.setdefault(place, Pictures(place))
        return samples

    def _place(self, folder: PurePosixPath) -> Place | None:
        """Return whose pictures a folder holds; the archive's name may stand for the subject."""
        if len(folder.parts) < 2:
            return None
        subject, condition, view = (self.name.partition(".")[0], *folder.parts)[-3:]
        return subject, condition, view


def scan_archives(root: Path) -> Scan:
    """Find the archives in a folder."""
    paths = sorted(root.iterdir())
    archives = tuple(SubjectArchive(path) for path in paths if is_archive(path))
    return Scan(archives, tuple(path.name for path in paths if not is_archive(path)))


def is_archive(path: Path) -> bool:
    """Return whether the file is named like a tar archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


class _StrictMember(tarfile.TarInfo):
    """A header that must be valid; tarfile itself takes a damaged one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictMember":
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf and not any(buf):
                raise  # a block of zeros is the end of the archive
            raise DatasetError(f"expected a whole tar archive, got: {error}") from error
        if member.type in _NAMES and member.size > MAX_NAME_BYTES:
            raise DatasetError(f"expected a name in the archive, got {member.size} bytes of it")
        return member


def _trouble(member: tarfile.TarInfo) -> str:
    """Return why a member is not a picture; an empty string if it is one."""
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg():
        return "no file"
    if not _stays_inside(PurePosixPath(member.name)):
        return "a name that leads out of the archive"
    if not is_text(member.name):
        return "a name that is not UTF-8"
    if member.name.lower().endswith(SUFFIXES):
        return "an archive within the archive; unpack it first"
    return "" if member.name.lower().endswith(".png") else "no PNG file"


def _stays_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _check_end(position: int) -> None:
    if position > MAX_ARCHIVE_BYTES:
        raise DatasetError(f"expected at most {MAX_ARCHIVE_BYTES} bytes, got more")


def _read_to_the_end(archive: tarfile.TarFile) -> None:
    """Read what follows the last member, so that the compression's checksum is verified."""
    if archive.fileobj is None:
        return
    position = archive.offset
    while chunk := archive.fileobj.read(1024 * 1024):
        position += len(chunk)
        _check_end(position)
