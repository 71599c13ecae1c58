"""Layouts, the packed cache, the report and the partitions."""

import json
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metagait import main
from model.caches import packed, training_dataset, walkers_dataset
from model.config import DataConfig, WalkersConfig
from model.dataset import (
    Dataset,
    PackedWriter,
    Report,
    Sample,
    first_subjects,
    layout_of,
    listed_subjects,
    named_partition,
    open_packed,
    pack,
)
from model.dataset import raw as raw_module
from model.dataset.layouts import CASIA_B, OU_MVLP
from model.dataset.raw import decode, in_order
from model.errors import DatasetError
from model.silhouettes import PREPROCESSING_ID, align
from model.walkers import WalkerSettings
from tests.datasets import body, png, walk, write_cache, write_sample, write_tar

SIZES = ((64, 44), (128, 88))
ENTRY = {"subject": "1", "condition": "nm-01", "view": "090", "start": 0, "length": 1}
EMPTY_FRAME = np.zeros((80, 100), np.uint8)


class Frames:
    """A source of frames that are all alike."""

    def read(self) -> np.ndarray:
        return np.full((3, 64, 44), 7, np.uint8)


def numbered(*subjects: str) -> Dataset:
    return Dataset(tuple(Sample(s, "nm-01", "090", 3, Frames()) for s in subjects))


def packed_tree(
    root: Path, out: Path, size: tuple[int, int] = (64, 44), layout: str | None = None
) -> Dataset:
    kind = layout_of(root, layout)
    pack(kind.scan(root), out, size, layout=kind)
    return open_packed(out)


def tree(root: Path) -> dict[str, list[np.ndarray]]:
    """Three subjects of any id/type/view tree, and the frames of each sample."""
    samples = {
        f"{subject}/walk/{view}": walk(first=20 + 3 * number)
        for number, (subject, view) in enumerate(
            (s, v) for s in ("ann", "bob", "cy") for v in ("front", "side")
        )
    }
    for name, frames in samples.items():
        write_sample(root, name, frames)
    return samples


def as_archives(root: Path) -> dict[str, list[np.ndarray]]:
    samples = {f"{s}/nm-01/{v}": walk(first=20) for s in ("001", "002") for v in ("000", "090")}
    for subject in ("001", "002"):
        write_tar(
            root / f"{subject}.tar.gz",
            {
                f"{name}/{name.replace('/', '-')}-{number:03}.png": png(frame)
                for name, frames in samples.items()
                if name.startswith(subject)
                for number, frame in enumerate(frames)
            },
        )
    return samples


def as_casia_b(root: Path) -> dict[str, list[np.ndarray]]:
    samples = {f"{s}/{c}/090": walk(first=22) for s in ("001", "124") for c in ("nm-01", "cl-02")}
    for name, frames in samples.items():
        write_sample(root, name, frames)
    return samples


def as_ou_mvlp(root: Path) -> dict[str, list[np.ndarray]]:
    samples = {
        f"{subject}/{sequence}/{view}": walk(first=24 + int(view) // 30)
        for subject in ("00001", "00002")
        for sequence in ("00", "01")
        for view in ("000", "270")
    }
    for name, frames in samples.items():
        subject, sequence, view = name.split("/")
        write_sample(root, f"Silhouette_{view}-{sequence}/{subject}", frames)
    return samples


LAYOUTS = {
    "tree": tree,
    "casia-b": as_casia_b,
    "casia-b-tar": as_archives,
    "oumvlp": as_ou_mvlp,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "write"), LAYOUTS.items())
def test_a_cache_holds_the_aligned_frames_of_every_layout(
    name: str,
    write: Callable[[Path], dict[str, list[np.ndarray]]],
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    root = tmp_path / "raw"
    samples = write(root)
    assert layout_of(root).name == name
    dataset = packed_tree(root, tmp_path / "packed", size)
    assert dataset.size == size
    assert sorted(sample.name for sample in dataset.samples) == sorted(samples)
    for sample in dataset.samples:
        expected = align(samples[sample.name], size).silhouettes
        np.testing.assert_array_equal(sample.silhouettes(), expected)
        assert sample.length == len(expected)
    missing, subjects = dataset.report.missing, dataset.report.missing_subjects
    assert dataset.report == Report(missing=missing, missing_subjects=subjects)


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    as_archives(tmp_path / "raw")
    layout = layout_of(tmp_path / "raw")
    told: list[str] = []
    for workers in (1, 2):
        pack(
            layout.scan(tmp_path / "raw"),
            tmp_path / str(workers),
            (64, 44),
            layout=layout,
            workers=workers,
            progress=told.append,
        )
    assert told == ["001.tar.gz", "002.tar.gz"] * 2
    for name in ("index.json", "silhouettes.npy"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_everything_that_is_wrong_with_a_tree_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    tree(root)
    (root / "ann" / "walk" / "front" / "ann-walk-front-005.png").write_bytes(b"no picture")
    (root / "bob" / "coat" / "side").mkdir(parents=True)
    write_sample(root, "bob/coat/front", [body()] * 3)
    broken = write_sample(root, "cy/coat/front", [body()])
    whole = png(body())
    next(broken.iterdir()).write_bytes(whole[: len(whole) // 2])
    write_sample(root, "cy/coat/side", [EMPTY_FRAME] * 20)
    write_sample(root, "dee/walk/front", [EMPTY_FRAME, *walk()])
    (root / "dee" / "walk" / "front" / "Thumbs.db").write_bytes(b"")
    (root / "readme.txt").write_text("hello")
    (root / "eve").mkdir()

    report = packed_tree(root, tmp_path / "packed").report

    assert report == Report(
        missing=("ann/coat/front", "ann/coat/side", *(f"dee/{x}" for x in DEE_LACKS)),
        empty=("bob/coat/side (no picture)", "cy/coat/side (no body in 20 pictures)"),
        short=("bob/coat/front (3 frames)",),
        broken=(
            "ann/walk/front/ann-walk-front-005.png "
            "(expected a PNG file, got 10 bytes of something else)",
            "cy/coat/front/cy-coat-front-001.png (expected a whole PNG file, got a damaged one)",
            "cy/coat/front (none of its 1 pictures can be read)",
        ),
        partial=("dee/walk/front (1 of 17 frames: empty)",),
        ignored=("eve/ (no <type>/<view> in it)", "readme.txt", "dee/walk/front/Thumbs.db"),
    )
    lines = report.lines(shown=1)
    assert "5 missing: ann/coat/front, …" in lines
    assert "1 with frames that show no whole body: dee/walk/front (1 of 17 frames: empty)" in lines


DEE_LACKS = ("coat/front", "coat/side", "walk/side")


def test_a_broken_picture_costs_one_frame(tmp_path: Path) -> None:
    frames = walk()
    folder = write_sample(tmp_path / "raw", "ann/walk/front", frames)
    (folder / "ann-walk-front-005.png").write_bytes(b"no picture")
    (sample,) = packed_tree(tmp_path / "raw", tmp_path / "packed").samples
    np.testing.assert_array_equal(sample.silhouettes(), align(frames[:4] + frames[5:]).silhouettes)


def test_known_datasets_are_held_to_what_they_promise(tmp_path: Path) -> None:
    as_casia_b(tmp_path / "casia")
    (tmp_path / "casia" / "005" / "nm-01" / "000").mkdir(parents=True)
    report = packed_tree(tmp_path / "casia", tmp_path / "a").report
    assert len(report.missing_subjects) == 121
    assert "005" not in report.missing_subjects
    assert len(report.missing) == 3 * 110 - 4 - 1
    assert report.empty == ("005/nm-01/000 (no picture)",)

    as_ou_mvlp(tmp_path / "ou")
    report = packed_tree(tmp_path / "ou", tmp_path / "b").report
    assert len(report.missing_subjects) == 10_305
    assert len(report.missing) == 2 * 28 - 8
    assert (len(CASIA_B.views), len(OU_MVLP.views)) == (11, 14)


def test_a_tree_that_is_no_grid_misses_nothing(tmp_path: Path) -> None:
    for number in range(4):
        write_sample(tmp_path / "raw", f"s{number}/day{number}/view{number}", walk())
    assert packed_tree(tmp_path / "raw", tmp_path / "packed").report == Report()


def test_frames_without_leading_zeros_are_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "ann" / "walk" / "front"
    folder.mkdir(parents=True)
    frames = walk(length=12)
    for number, frame in enumerate(frames, start=1):
        (folder / f"{number}.png").write_bytes(png(frame))
    (sample,) = packed_tree(tmp_path / "raw", tmp_path / "packed").samples
    np.testing.assert_array_equal(sample.silhouettes(), align(frames).silhouettes)
    assert sorted(["a10", "a9", "10b", "b1"], key=in_order) == ["10b", "a9", "a10", "b1"]


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="not there"):
        layout_of(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"001\.tar\.gz.*Silhouette_.*got an empty folder"):
        layout_of(tmp_path / "empty")
    with pytest.raises(DatasetError, match="got empty/"):
        layout_of(tmp_path)
    with pytest.raises(DatasetError, match="'casia-c'"):
        layout_of(tmp_path, "casia-c")
    with pytest.raises(DatasetError, match="oumvlp"):
        layout_of(tmp_path, "oumvlp")
    as_casia_b(tmp_path / "raw")
    with pytest.raises(DatasetError, match=r"expected a size .* got \(10, 10\)"):
        packed_tree(tmp_path / "raw", tmp_path / "packed", (10, 10))


def test_two_layouts_in_one_folder_must_be_named(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    as_archives(root)
    as_casia_b(root)
    with pytest.raises(DatasetError, match="casia-b and casia-b-tar"):
        layout_of(root)
    dataset = packed_tree(root, tmp_path / "packed", layout="casia-b")
    assert dataset.subjects == ("001", "124")
    assert dataset.report.ignored == ("001.tar.gz", "002.tar.gz")
    assert layout_of(root, "tree").grid is None


def test_a_source_without_any_walk_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path / "raw", "ann/walk/front", [EMPTY_FRAME])
    with pytest.raises(DatasetError, match="no body in 1 pictures"):
        packed_tree(tmp_path / "raw", tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "other", "format"),
        ("preprocessing_id", "other", "preprocessing"),
        ("size", [128, 88], "silhouettes"),
        ("samples", [{"subject": "1"}], "start"),
        ("samples", [{**ENTRY, "start": -1}], "-1"),
        ("samples", [{**ENTRY, "length": 999}], "999"),
        ("samples", [], "no samples"),
        ("report", {"broken": [1]}, "report"),
        ("report", {"other": []}, "other"),
    ],
)
def test_damaged_caches_are_refused(tmp_path: Path, key: str, value: object, said: str) -> None:
    write_cache(numbered("1", "2"), tmp_path / "packed")
    file = tmp_path / "packed" / "index.json"
    index = json.loads(file.read_text())
    assert index["preprocessing_id"] == PREPROCESSING_ID
    file.write_text(json.dumps({**index, key: value}))
    with pytest.raises(DatasetError, match=said):
        open_packed(tmp_path / "packed")


def test_pickled_silhouettes_are_refused(tmp_path: Path) -> None:
    write_cache(numbered("1"), tmp_path / "packed")
    np.save(tmp_path / "packed" / "silhouettes.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DatasetError):
        open_packed(tmp_path / "packed")


def test_a_cache_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "packed"
    frames = np.zeros((2, 64, 44), np.uint8)

    def interrupted() -> None:
        with PackedWriter(out, (64, 44)) as writer:
            writer.add(("1", "nm-01", "000"), frames)
            assert [path.name for path in tmp_path.iterdir()] == ["packed.part"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "packed.part").mkdir()  # left by a process that was killed
    (tmp_path / "packed.part" / "index.json").write_text("{")
    write_cache(numbered("1"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    with pytest.raises(DatasetError, match="exists"):
        write_cache(numbered("1"), out)


def test_the_writer_takes_each_sample_once_and_whole(tmp_path: Path) -> None:
    with PackedWriter(tmp_path / "packed", (64, 44)) as writer:
        with pytest.raises(DatasetError, match="got none"):
            writer.finish()
        writer.add(("1", "nm-01", "000"), np.zeros((2, 64, 44), np.uint8))
        with pytest.raises(DatasetError, match=r"1/nm-01/000.*second"):
            writer.add(("1", "nm-01", "000"), np.zeros((2, 64, 44), np.uint8))
        with pytest.raises(DatasetError, match=r"uint8 \[T, 64, 44\], got float64"):
            writer.add(("1", "nm-01", "018"), np.zeros((2, 64, 44)))


def test_a_raw_dataset_is_packed_once_and_again_when_it_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path / "raw")
    runs = tmp_path / "runs"
    first = packed(tmp_path / "raw", (64, 44), runs)
    assert "packing" in capsys.readouterr().out
    again = packed(tmp_path / "raw", (64, 44), runs)
    assert capsys.readouterr().out == ""
    assert again.samples == first.samples
    write_sample(tmp_path / "raw", "ann/coat/front", walk())
    assert len(packed(tmp_path / "raw", (64, 44), runs).samples) == len(first.samples) + 1
    assert len(list((runs / "cache").glob("raw-*"))) == 2


def test_many_who_want_the_same_cache_make_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = WalkersConfig(
        subjects=1, conditions=("nm-01",), views=(90,), settings=WalkerSettings(frames=3)
    )
    with ThreadPoolExecutor(3) as threads:
        opened = list(
            threads.map(lambda _: walkers_dataset(few, tmp_path, "few").samples, range(3))
        )
    assert opened[0] == opened[1] == opened[2]
    assert capsys.readouterr().out.count("generating") == 1


def test_training_sees_the_half_that_trains(tmp_path: Path) -> None:
    cache = tmp_path / "packed"
    write_cache(numbered("001", "024", "025", "100"), cache)
    for config, subjects in (
        (DataConfig(str(cache), partition="st"), ("001", "024")),
        (DataConfig(str(cache), train_subjects=3), ("001", "024", "025")),
        (DataConfig(str(cache), train_ids=("100", "007")), ("100",)),
        (DataConfig(str(cache)), ("001", "024", "025", "100")),
    ):
        assert training_dataset(config, (64, 44), tmp_path).subjects == subjects
    with pytest.raises(DatasetError, match="--size 128x88"):
        training_dataset(DataConfig(str(cache)), (128, 88), tmp_path)


def test_partitions_of_casia_b_go_by_number() -> None:
    # 005 is not there, and 006 does not take its place among the first.
    ids = [f"{number:03}" for number in range(1, 125) if number != 5]
    dataset = numbered(*ids)
    for name, last in (("st", 24), ("mt", 62), ("lt", 74)):
        train, test = named_partition(name).train(dataset), named_partition(name).test(dataset)
        assert train.subjects == tuple(i for i in ids if int(i) <= last)
        assert test.subjects == tuple(i for i in ids if int(i) > last)


def test_ou_mvlp_trains_on_odd_ids() -> None:
    dataset = numbered("00001", "00002", "00003", "00004", "10307")
    assert named_partition("oumvlp").train(dataset).subjects == ("00001", "00003", "10307")
    assert named_partition("oumvlp").test(dataset).subjects == ("00002", "00004")


def test_other_partitions_are_a_count_or_a_list() -> None:
    dataset = numbered("ann", "bob", "cy")
    assert first_subjects(2).train(dataset).subjects == ("ann", "bob")
    assert first_subjects(2).test(dataset).subjects == ("cy",)
    listed = listed_subjects(("cy", "zoe"))
    assert listed.train(dataset).subjects == ("cy",)
    assert listed.test(dataset).subjects == ("ann", "bob")
    assert listed.test(dataset).report.missing_subjects == ("zoe",)
    known = replace(dataset, report=Report(missing_subjects=("zoe",)))
    assert listed.train(known).report.missing_subjects == ("zoe",)


def test_partitions_that_do_not_fit_say_why() -> None:
    with pytest.raises(DatasetError, match=r"st, mt, lt, oumvlp.*'xl'"):
        named_partition("xl")
    with pytest.raises(DatasetError, match=r"numbers .* got ann"):
        named_partition("lt").train(numbered("ann", "001"))
    with pytest.raises(DatasetError, match="test by the partition lt"):
        named_partition("lt").test(numbered("001"))
    with pytest.raises(DatasetError, match="test by the partition of the first 2"):
        first_subjects(2).test(numbered("001"))


def test_the_command_packs_reports_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "raw", tmp_path / "packed"
    as_archives(source)
    report = tmp_path / "report.json"
    arguments = ["pack", str(source), str(target), "--size", "128x88", "--workers", "1"]
    assert main([*arguments, "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "4 samples of 2 subjects, 64 frames" in out
    assert "122 missing subjects: 003, 004, 005, 006, 007, …" in out
    told = json.loads(report.read_text())
    assert (told["layout"], told["size"], told["frames"]) == ("casia-b-tar", [128, 88], 64)
    assert len(told["missing_subjects"]) == 122
    assert len(told["missing"]) == 2 * 110 - 4
    assert open_packed(target).size == (128, 88)
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["pack", str(target), str(tmp_path / "again")]) == 2
    assert "packed cache" in capsys.readouterr().err
    assert main(["pack", str(source), str(tmp_path / "new"), "--workers", "0"]) == 2
    assert "workers" in capsys.readouterr().err
