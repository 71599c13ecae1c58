"""Uploads made to harm, generated; each with the status and code that must answer it.

The limits that they are made for: 2 MB of body, 200 frames.
"""

import io
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.fakes import jpeg, npy, npz, png, walker, zipped, zipped_walk

FRAME = walker(10, 1)[0]


@dataclass(frozen=True)
class Hostile:
    name: str
    data: bytes
    status: int
    code: str
    filename: str = "walk"


def png_of(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A PNG that claims a size and holds almost nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    chunks = [chunk(b"IHDR", header), extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def npy_claiming(shape: str, descr: str = "'|u1'", body: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def object_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return file.getvalue()


def bomb(unpacked: int) -> bytes:
    """A zip whose only picture unpacks to `unpacked` bytes."""
    return zipped([("a.png", png(FRAME) + b"\0" * unpacked)])


def lying_size(claim: int) -> bytes:
    """A zip that declares another unpacked size than its entry has."""
    data = bytearray(zipped([(f"{i}.png", png(FRAME)) for i in range(6)]))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", claim)
    return bytes(data)


def overlapping() -> bytes:
    """Two directory entries that share one stored file."""
    data = zipped([("a.png", png(FRAME)), ("b.png", png(FRAME))])
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    changed = bytearray(data)
    changed[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(changed)


def special_file(kind: int) -> bytes:
    entry = zipfile.ZipInfo("a.png")
    entry.external_attr = (kind | 0o644) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped([(f"{i}.png", png(FRAME)) for i in range(6)]))
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    return bytes(data)


def duplicate_names() -> bytes:
    data = zipped([("a.png", png(FRAME)), ("b.png", png(FRAME))])
    return data.replace(b"b.png", b"a.png")


def nul_name() -> bytes:
    return zipped([("a.png_x", png(FRAME))]).replace(b"a.png_x", b"a.png\0x")


def zip64() -> bytes:
    data = zipped_walk(walker(10))
    end = len(data) - 22
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
    return data[:end] + locator + data[end:]


def mp4() -> bytes:
    return b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0" * 500


def many_scans() -> bytes:
    picture = jpeg(FRAME)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return picture[:-2] + scan * 100 + picture[-2:]


def png_walk(data: bytes) -> bytes:
    return zipped([*((f"{i}.png", png(FRAME)) for i in range(6)), ("9.png", data)])


def corpus() -> Iterator[Hostile]:
    """Every hostile upload."""
    whole, picture = zipped_walk(walker(10)), png(FRAME)
    some = [(f"{i}.png", picture) for i in range(6)]
    yield Hostile("empty", b"", 415, "unsupported_format")
    yield Hostile("text", b"hello, who is this?\n", 415, "unsupported_format")
    for protocol in range(6):
        data = pickle.dumps(walker(10), protocol=protocol)
        yield Hostile(f"pickle {protocol}", data, 415, "unsupported_format")
    yield from _videos()
    yield from _packed()
    for extension in ("zip", "npy", "npz", "mgpk", "mp4", "png"):
        data = pickle.dumps(walker(10))
        yield Hostile(f"pickle as .{extension}", data, 415, "unsupported_format",
                      f"walk.{extension}")  # fmt: skip
    yield Hostile("one png as sequence", picture, 415, "unsupported_format")
    yield from _arrays()
    yield from _pictures(picture)
    yield Hostile("cut zip", whole[: len(whole) // 2], 422, "damaged_upload")
    yield Hostile("zip magic only", b"PK\x03\x04", 422, "damaged_upload")
    yield Hostile("empty zip", b"PK\x05\x06" + b"\0" * 18, 415, "unsupported_format")
    yield Hostile("only folders", zipped([("a/", b"")]), 415, "unsupported_format")
    yield Hostile("zip64", zip64(), 415, "unsupported_format")
    yield Hostile("bomb", bomb(20_000_000), 422, "unsafe_archive")
    yield Hostile("small bombs", _small_bombs(picture), 422, "unsafe_archive")
    yield Hostile("bomb in a bomb", zipped([("a.png", bomb(5_000_000))]), 415, "unsupported_format")
    yield Hostile("nested", zipped([("a.png", whole)]), 415, "unsupported_format")
    yield Hostile("understated size", lying_size(100), 422, "damaged_upload")
    yield Hostile("overstated size", lying_size(60_000), 422, "damaged_upload")
    yield Hostile("overlapping", overlapping(), 422, "unsafe_archive")
    yield Hostile("65k entries", _many_entries(65_000), 422, "too_many_frames")
    yield Hostile("201 frames", zipped([(f"{i}.png", picture) for i in range(201)]), 422,
                  "too_many_frames")  # fmt: skip
    yield Hostile("duplicate names", duplicate_names(), 422, "unsafe_archive")
    yield Hostile("NUL in name", nul_name(), 422, "unsafe_archive")
    for name in ("../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "a" * 600):
        yield Hostile(f"name {name[:20]}", zipped([*some, (name, picture)]), 422, "unsafe_archive")
    yield Hostile("dot", zipped([(".", picture)]), 422, "unsafe_archive")
    yield Hostile("symlink", special_file(stat.S_IFLNK), 422, "unsafe_archive")
    yield Hostile("fifo", special_file(stat.S_IFIFO), 422, "unsafe_archive")
    yield Hostile("encrypted", encrypted(), 422, "unsafe_archive")
    yield Hostile("lzma", zipped(some, zipfile.ZIP_LZMA), 422, "unsafe_archive")
    yield Hostile("two walks", zipped([("a/1.png", picture), ("b/1.png", picture)]), 415,
                  "unsupported_format")  # fmt: skip
    yield Hostile("text in zip", zipped([("a.png", b"hello")]), 415, "unsupported_format")
    yield Hostile("too much body", b"PK\x03\x04" + bytes(3_000_000), 413, "upload_too_large")


def _videos() -> Iterator[Hostile]:
    yield Hostile("hollow mp4", mp4(), 422, "damaged_upload")
    yield Hostile("mp4 that refers to a file", mp4_of_elsewhere(), 422, "damaged_upload")
    yield Hostile("avi magic", b"RIFF\0\0\0\0AVI " + bytes(300), 422, "damaged_upload")
    yield Hostile("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415,
                  "unsupported_format")  # fmt: skip
    yield Hostile("concat", b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "unsupported_format")
    yield Hostile("webm", b"\x1aE\xdf\xa3" + bytes(300), 415, "unsupported_format")


def _packed() -> Iterator[Hostile]:
    bits = zlib.compress(bytes(16))
    yield Hostile("packed magic", b"MGPK", 422, "damaged_upload")
    yield Hostile("packed of version 9", packed_of(8, 8, 2, version=9), 415, "unsupported_format")
    yield Hostile("packed of 4 bits", packed_of(8, 8, 2, bits=4), 415, "unsupported_format")
    yield Hostile("packed, 2^32 frames", packed_of(8, 8, 2**32 - 1), 422, "too_many_frames")
    yield Hostile("packed, huge frames", packed_of(60_000, 60_000, 2), 422, "frame_too_large")
    yield Hostile("packed, huge walk", packed_of(2800, 2800, 190), 422, "frame_too_large")
    yield Hostile("packed, cut", packed_of(8, 8, 2) + bits[:-3], 422, "damaged_upload")
    yield Hostile("packed, more", packed_of(8, 8, 2) + bits + b"x", 422, "damaged_upload")
    # No more of it is unpacked than the header promises.
    endless = zlib.compress(bytes(2**25), 9)
    yield Hostile("packed bomb", packed_of(64, 44, 20) + endless, 422, "damaged_upload")


def packed_of(height: int, width: int, frames: int, *, bits: int = 1, version: int = 1) -> bytes:
    return struct.pack("<4sBBHHI", b"MGPK", version, bits, height, width, frames)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mp4_of_elsewhere() -> bytes:
    """An MP4 whose track keeps its pictures in another file, by a data reference."""
    url = box(b"url ", bytes(4) + b"file:///etc/passwd\0")
    reference = box(b"dref", bytes(4) + struct.pack(">I", 1) + url)
    media = box(b"mdia", box(b"minf", box(b"dinf", reference)))
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", box(b"trak", media))


def _arrays() -> Iterator[Hostile]:
    walk = walker(10)
    yield Hostile("objects", object_npy(), 415, "unsupported_format")
    yield Hostile("record dtype", npy_claiming("(9,)", "[('a', '<i4')]"), 415, "unsupported_format")
    yield Hostile("float array", npy(walk.astype(np.float32)), 415, "unsupported_format")
    yield Hostile("one frame array", npy(walk[0]), 415, "unsupported_format")
    yield Hostile("Fortran order", npy(np.asfortranarray(walk)), 415, "unsupported_format")
    yield Hostile("one frame", npy(walk[:1]), 422, "too_few_frames")
    yield Hostile("black", npy(np.zeros_like(walk)), 422, "no_body")
    yield Hostile("100,000 frames", npy_claiming("(100000, 8, 8)"), 422, "too_many_frames")
    yield Hostile("lying shape", npy_claiming("(10, 64, 44)", body=b"\0" * 9), 422,
                  "damaged_upload")  # fmt: skip
    yield Hostile("huge frames", npy_claiming("(2, 60000, 60000)"), 422, "frame_too_large")
    yield Hostile("empty frames", npy_claiming("(9, 0, 9)"), 422, "frame_too_large")
    yield Hostile("endless number", npy_claiming(f"({'9' * 3000}, 2, 2)"), 422, "damaged_upload")
    yield Hostile("negative shape", npy_claiming("(-9, 9, 9)"), 422, "damaged_upload")
    yield Hostile("code in header", npy_claiming("__import__('os').abort()"), 422,
                  "damaged_upload")  # fmt: skip
    yield Hostile("deep header", npy_claiming("(" * 4000), 422, "damaged_upload")
    yield Hostile("cut array", npy(walk)[:-1], 422, "damaged_upload")
    yield Hostile("array header cut", npy(walk)[:9], 422, "damaged_upload")
    yield Hostile("npy version 9", b"\x93NUMPY\x09\x00" + bytes(99), 422, "damaged_upload")
    yield Hostile("two arrays", npz(a=walk, b=walk), 415, "unsupported_format")
    yield Hostile("npz of objects", zipped([("a.npy", object_npy())]), 415, "unsupported_format")
    yield Hostile("npz of text", zipped([("a.npy", b"hello")]), 422, "damaged_upload")
    # All that black would pack into less than a megabyte; the header is enough to refuse it.
    blank = npy_claiming("(190, 2000, 2000)")
    yield Hostile("npz bomb", zipped([("a.npy", blank)]), 422, "frame_too_large")


def _pictures(picture: bytes) -> Iterator[Hostile]:
    yield Hostile("60000 png", png_walk(png_of(60_000, 60_000)), 422, "frame_too_large")
    yield Hostile("2^31 png", png_walk(png_of(2**31 - 1, 2**31 - 1)), 422, "frame_too_large")
    yield Hostile("strip png", png_walk(png_of(60_000, 12)), 422, "frame_too_large")
    yield Hostile("no pixels", png_walk(png_of(0, 12)), 422, "frame_too_large")
    yield Hostile("hollow png", png_walk(png_of(2000, 2000)), 422, "damaged_upload")
    yield Hostile("cut png", png_walk(picture[:-20]), 422, "damaged_upload")
    yield Hostile("bent png", png_walk(picture[:60] + b"?" + picture[61:]), 422, "damaged_upload")
    yield Hostile("png magic", png_walk(picture[:8]), 422, "damaged_upload")
    animated = png_of(8, 8, extra=chunk(b"acTL", bytes(8)))
    yield Hostile("apng", png_walk(animated), 415, "unsupported_format")
    yield Hostile("cut jpeg", png_walk(jpeg(FRAME)[:-20]), 422, "damaged_upload")
    yield Hostile("jpeg magic", png_walk(b"\xff\xd8\xff\xd9"), 422, "damaged_upload")
    yield Hostile("scan bomb", png_walk(many_scans()), 415, "unsupported_format")
    yield Hostile("gif", png_walk(b"GIF89a" + bytes(50)), 415, "unsupported_format")


def _small_bombs(picture: bytes) -> bytes:
    """Many pictures that each stay below the limit of one, and together do not."""
    return zipped([(f"{i}.png", picture + b"\0" * 60_000) for i in range(100)])


def _many_entries(count: int) -> bytes:
    """Directory entries without files: 46 bytes each."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *([0] * 4), *([0] * 4), 0, 0, 0, 1,
                        *([0] * 4), 0, 0) + b"a"  # fmt: skip
    directory = entry * (1_900_000 // len(entry))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), 4, 0)
    return b"PK\x03\x04" + directory + end
