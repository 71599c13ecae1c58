"""Archives of a dataset: what they may hold, and what happens to a damaged one."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model.dataset import raw as raw_module
from model.dataset.raw import decode
from model.errors import DatasetError
from tests.datasets import body, png, walk, write_tar
from tests.layouts import as_archives, packed_tree


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    header = tarfile.TarInfo()
    header.type, header.linkname = kind, target
    return header


def folder() -> tarfile.TarInfo:
    header = tarfile.TarInfo()
    header.type = tarfile.DIRTYPE
    return header


def test_what_an_archive_should_not_hold_is_listed_and_goes_nowhere(tmp_path: Path) -> None:
    picture = png(body())
    inner = tmp_path / "inner.tar"
    write_tar(inner, {"001/nm-03/000/1.png": picture}, "w")
    wanted = {f"001/nm-01/000/{number}.png": picture for number in range(16)}
    (tmp_path / "secret.png").write_bytes(picture)
    members = {
        **wanted,
        "../../escaped/nm-01/000/1.png": picture,
        "/tmp/nm-01/000/1.png": picture,
        "001/nm-01/018/1.png": link(tarfile.SYMTYPE, str(tmp_path / "secret.png")),
        "001/nm-01/036/1.png": link(tarfile.LNKTYPE, "001/nm-01/000/1.png"),
        "001/nm-01/054/1.png": link(tarfile.CHRTYPE, ""),
        "001/nm-01/072/inner.tar": inner.read_bytes(),
        "001/nm-01/090/notes.txt": b"hello",
        os.fsdecode(b"001/nm-01/108/\xfc.png"): picture,
        "stray.png": picture,
        "001": folder(),
        "001/nm-02": folder(),
        "001/nm-02/000": folder(),
    }
    write_tar(tmp_path / "raw" / "001.tar", members, "w")
    before = sorted(tmp_path.rglob("*"))

    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")

    new = {p for p in tmp_path.rglob("*") if p not in before} - {tmp_path / "packed"}
    assert {path.parent for path in new} == {tmp_path / "packed"}
    assert [sample.name for sample in dataset.samples] == ["001/nm-01/000"]
    assert dataset.report.empty == ("001/nm-02/000 (no picture)",)
    reasons = dict(line.removeprefix("001.tar: ").split(" (") for line in dataset.report.ignored)
    assert reasons == {
        "../../escaped/nm-01/000/1.png": "a name that leads out of the archive)",
        "/tmp/nm-01/000/1.png": "a name that leads out of the archive)",
        "001/nm-01/018/1.png": "a link)",
        "001/nm-01/036/1.png": "a link)",
        "001/nm-01/054/1.png": "no file)",
        "001/nm-01/072/inner.tar": "an archive within the archive; unpack it first)",
        "001/nm-01/090/notes.txt": "no PNG file)",
        "001/nm-01/108/\\udcfc.png": "a name that is not UTF-8)",
        "stray.png": "not in <type>/<view>/)",
    }


def test_an_archive_need_not_repeat_its_subject(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw" / "007.tgz", {f"nm-01/000/{n}.png": png(body()) for n in range(16)})
    write_tar(
        tmp_path / "raw" / "008.tar.xz",
        {f"./silh/008/nm-01/000/{n}.png": png(body()) for n in range(16)},
        "w:xz",
    )
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert [sample.name for sample in dataset.samples] == ["007/nm-01/000", "008/nm-01/000"]


def test_the_same_sample_twice_is_listed(tmp_path: Path) -> None:
    members = {f"001/nm-01/000/{n}.png": png(body()) for n in range(16)}
    for name in ("001.tar", "001-copy.tar"):
        write_tar(tmp_path / "raw" / name, members, "w")
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert len(dataset.samples) == 1
    assert dataset.report.broken == ("001/nm-01/000 (a second sample of this name)",)


def second_header_damaged(data: bytes) -> bytes:
    place = data.index(b"002/nm-01/000/01.png")
    return data[:place] + b"x" * 512 + data[place + 512 :]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("tar", lambda data: data[:1000]),
        ("tar", lambda data: data[:1024]),
        ("tar", second_header_damaged),
        ("tar", lambda data: b"no archive"),
        ("tar.gz", lambda data: data[: len(data) // 2]),
        ("tar.gz", lambda data: data[:200] + b"x" * 200 + data[400:]),
    ],
)
def test_a_damaged_archive_is_refused_as_a_whole(
    suffix: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    pictures = {f"002/nm-01/000/{n:02}.png": png(frame) for n, frame in enumerate(walk(4))}
    write_tar(tmp_path / "raw" / "001.tar", {"001/nm-01/000/1.png": png(body())})
    bad = tmp_path / "raw" / f"002.{suffix}"
    write_tar(bad, pictures, "w:gz" if suffix == "tar.gz" else "w")
    bad.write_bytes(damage(bad.read_bytes()))
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert dataset.subjects == ("001",)
    (line,) = dataset.report.broken
    assert line.startswith(f"002.{suffix} (expected a whole tar archive, got: ")


def test_a_changed_byte_in_a_compressed_archive_is_noticed(tmp_path: Path) -> None:
    as_archives(tmp_path / "raw")
    file = tmp_path / "raw" / "002.tar.gz"
    data = bytearray(file.read_bytes())
    data[-6] ^= 1  # within the checksum at the end
    file.write_bytes(bytes(data))
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert dataset.subjects == ("001",)
    assert len(dataset.report.broken) == 1


def test_a_file_with_holes_that_are_listed_nowhere_is_refused(tmp_path: Path) -> None:
    as_archives(tmp_path / "raw")
    sparse = tarfile.TarInfo("003/nm-01/000/1.png")
    sparse.size = 512
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    header = sparse.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "raw" / "003.tar").write_bytes(header + b"x" * 512 + bytes(1024))
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert dataset.subjects == ("001", "002")
    (line,) = dataset.report.broken
    assert line.startswith("003.tar (expected a whole tar archive, got: ")


def test_a_name_as_large_as_a_bomb_is_refused(tmp_path: Path) -> None:
    as_archives(tmp_path / "raw")
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3
    block = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "raw" / "003.tar").write_bytes(block + bytes(10240))
    dataset = packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert dataset.report.broken == (
        "003.tar (expected a name in the archive, got 8589934592 bytes of it)",
    )


def test_pictures_larger_than_any_silhouette_are_refused() -> None:
    huge = bytearray(png(body()))
    huge[16:24] = (40_000).to_bytes(4) * 2
    with pytest.raises(DatasetError, match="40000x40000"):
        decode(bytes(huge))
    assert raw_module.MAX_PICTURE_PIXELS < 40_000**2
