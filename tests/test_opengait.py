"""OpenGait's pickled trees: what comes in, what does not, and that nothing in them ever runs."""

import builtins
import json
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from metagait import main
from model.dataset import open_packed, pack
from model.dataset.layouts import OU_MVLP, grid_of_tree
from model.dataset.opengait import _mirrored, cut, opengait
from model.dataset.unpickle import MAX_OPCODES, load_array
from model.errors import DatasetError
from model.silhouettes import align
from model.walkers import WalkerSettings, render_walk
from tests.datasets import write_pickle, write_sample

GREY = np.random.default_rng(1).integers(0, 256, (3, 4, 5), np.uint8)
RAN = "a pickle ran this"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY > 127,
        np.asfortranarray(GREY),
        GREY[:0],
        np.broadcast_to(GREY[0], (40, 4, 5)).copy(),
        np.zeros((20, 64, 64), np.uint8),
    ],
    ids=["grey", "bool", "fortran", "no frame", "several", "large"],
)
def test_arrays_come_back_as_they_were_pickled(array: np.ndarray, protocol: int) -> None:
    loaded = load_array(pickle.dumps(array, protocol))
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype


def test_both_names_of_numpys_core_are_known() -> None:
    data = pickle.dumps(GREY, 2)
    assert b"numpy._core.multiarray" in data
    np.testing.assert_array_equal(load_array(data.replace(b"numpy._core", b"numpy.core")), GREY)


class Calls:
    """Pickles as a call of something."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def stack_global(module: str, name: str) -> bytes:
    words = (module.encode(), name.encode())
    return b"".join(b"\x8c" + bytes([len(word)]) + word for word in words) + b"\x93"


def call(module: str, name: str, arguments: bytes) -> bytes:
    return b"\x80\x04" + stack_global(module, name) + arguments + b"R."


def doubled(levels: int) -> bytes:
    """Build a tuple of a tuple of ... each twice: 2 to the power of `levels` leaves."""
    grown = b"N" + b"".join(b"\x94h%c\x86" % level for level in range(levels))
    return b"\x80\x04" + grown + b"."


HOSTILE = {
    "os.system": pickle.dumps(Calls(os.system, f"echo {RAN}")),
    "os.system, protocol 0": pickle.dumps(Calls(os.system, f"echo {RAN}"), 0),
    "subprocess": pickle.dumps(Calls(subprocess.run, ["touch", RAN])),
    "eval": pickle.dumps(Calls(builtins.eval, f"open({RAN!r}, 'w').close()")),
    "exec, protocol 2": pickle.dumps(Calls(builtins.exec, f"open({RAN!r}, 'w').close()"), 2),
    "open": pickle.dumps(Calls(builtins.open, RAN, "w")),
    "getattr chain": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
    "dotted name": call("numpy", "ndarray.__class__.__subclasses__", b")"),
    "dotted name in numpy": call("numpy", "f2py.os.system", b"\x8c\x02id\x85"),
    "numpy's loader": call("numpy", "load", b"\x8c\x01x\x85"),
    "numpy's runstring": call("numpy.testing._private.utils", "runstring", b"\x8c\x01x}\x86"),
    "numpy's core, other name": call("numpy._core.multiarray", "scalar", b")"),
    "object array": pickle.dumps(np.array([Calls(os.system, f"echo {RAN}")], dtype=object)),
    "object array of nothing": pickle.dumps(np.array([None, {}], dtype=object)),
    "structured array": pickle.dumps(np.zeros(2, [("a", "u1"), ("b", "u1")])),
    "array of words": pickle.dumps(np.array(["a", "b"])),
    "floats": pickle.dumps(np.zeros((2, 64, 64))),
    "wide integers": pickle.dumps(np.zeros((2, 64, 64), np.int64)),
    "array of a subclass": pickle.dumps(np.zeros(3, np.uint8).view(np.recarray)),
    "scalar": pickle.dumps(np.uint8(3)),
    "list of arrays": pickle.dumps([GREY]),
    "dictionary": pickle.dumps({"a": GREY}),
    "number": pickle.dumps(3),
    "bytes": pickle.dumps(b"abc"),
    "none": pickle.dumps(None),
    "class itself": b"\x80\x04" + stack_global("numpy", "ndarray") + b".",
    "array without a state": call("numpy", "ndarray", b")"),
    "new object": b"\x80\x04" + stack_global("numpy", "ndarray") + b")\x81.",
    "persistent id": b"\x80\x04Pos.system\n.",
    "persistent id on the stack": b"\x80\x04\x8c\x01xQ.",
    "extension code": b"\x80\x04\x82\x01.",
    "old instance": b"(ios\nsystem\n.",
    "changes its maker": b"\x80\x04" + stack_global("numpy", "ndarray") + b"}b.",
    "changes its maker by slots": b"\x80\x04" + stack_global("numpy", "dtype") + b"N}\x86b.",
    "doubling": doubled(60),
    "large memo": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "memo index of four bytes": b"\x80\x04Nj\xff\xff\xff\xff.",
    "many parts": b"\x80\x04" + b"N0" * MAX_OPCODES + b"N.",
    "deep marks": b"\x80\x04" + b"(" * 100_000 + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "cut off": pickle.dumps(GREY)[:-20],
    "nothing": b"",
    "no pickle": b"\x89PNG\r\n\x1a\n",
    "no stop": b"\x80\x04N",
    "empty stack": b"\x80\x04R.",
    "protocol of the future": b"\x80\x09N.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused_and_never_run(
    data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="expected"):
        load_array(data)
    assert list(tmp_path.iterdir()) == []
    assert RAN not in capfd.readouterr().out


def test_the_hostile_pickles_would_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["exec, protocol 2"])
    assert [path.name for path in tmp_path.iterdir()] == [RAN]


def state_of(shape: bytes, data: bytes, dtype: bytes = b"\x8c\x02u1\x89\x88\x87R") -> bytes:
    return (
        b"\x80\x04"
        + stack_global("numpy._core.multiarray", "_reconstruct")
        + stack_global("numpy", "ndarray")
        + b"K\x00\x85C\x01b\x87R(K\x01"
        + shape
        + stack_global("numpy", "dtype")
        + dtype
        + b"\x89"
        + data
        + b"tb."
    )


def test_states_that_do_not_describe_an_array_are_refused() -> None:
    np.testing.assert_array_equal(load_array(state_of(b"K\x02\x85", b"C\x02ab")), [97, 98])
    for shape, data in (
        (b"K\x03\x85", b"C\x02ab"),  # more pixels than bytes
        (b"J\xff\xff\xff\xff\x85", b"C\x00"),  # a negative size
        (b"N\x85", b"C\x02ab"),
        (b"\x88\x88\x86", b"C\x01a"),  # bools are no sizes
        (b"K\x02", b"C\x02ab"),
        (b"K\x02\x85", b"\x8c\x02ab"),  # words are no bytes
        (b"K\x02\x85", b"N"),
        (b"(" + b"K\x01" * 9 + b"t", b"C\x01a"),  # nine dimensions
    ):
        with pytest.raises(DatasetError, match="expected"):
            load_array(state_of(shape, data))


def test_what_loads_is_not_numpys_own() -> None:
    """NumPy's functions are never called, so none of their own troubles can be reached."""
    unknown = state_of(b"K\x02\x85", b"C\x02ab", b"\x8c\x03O8x\x89\x88\x87R")
    with pytest.raises(DatasetError, match="dtype"):
        load_array(unknown)


def squares(frames: list[np.ndarray], side: int = 64) -> np.ndarray:
    """Cut frames as the field's pretreatment is described, for OpenGait's files."""
    made = []
    for frame in frames:
        rows = np.flatnonzero(frame.any(axis=1))
        body = frame[rows[0] : rows[-1] + 1]
        width = int(body.shape[1] * side / body.shape[0])
        body = cv2.resize(body, (width, side), interpolation=cv2.INTER_CUBIC)
        mass = body.sum(axis=0, dtype=np.int64).cumsum()
        centre = int(np.argmax(mass > mass[-1] / 2))
        padded = np.pad(body, ((0, 0), (side // 2, side // 2)))
        made.append(padded[:, centre : centre + side])
    return np.stack(made).astype(np.uint8)


@pytest.mark.parametrize(("side", "size"), [(64, (64, 44)), (128, (64, 44)), (128, (128, 88))])
def test_cut_frames_are_nearly_those_of_our_own_preprocessing(
    side: int, size: tuple[int, int]
) -> None:
    # Towards the camera: such a walk is not mirrored, and where it goes is lost in the squares.
    masks = list(render_walk(1, "nm-01", 0, WalkerSettings(frames=6)))
    ours = align(masks, size).silhouettes.astype(int)
    theirs = cut(squares(masks, side), size).astype(int)
    assert theirs.shape == ours.shape
    difference = np.abs(theirs - ours)
    assert difference.mean() < 4.5  # grey levels
    assert (difference > 127).mean() < 0.01
    again = align(list(squares(masks, side)), size).silhouettes.astype(int)
    assert difference.mean() <= np.abs(again - ours).mean() + 0.05


def test_zeros_and_ones_are_black_and_white() -> None:
    mask = np.zeros((2, 64, 64), np.uint8)
    mask[:, :, 20:40] = 1
    expected = cut(mask * np.uint8(255), (64, 44))
    np.testing.assert_array_equal(cut(mask, (64, 44)), expected)
    np.testing.assert_array_equal(cut(mask.astype(bool), (64, 44)), expected)
    assert expected[0, 0].tolist() == [0] * 10 + [255] * 20 + [0] * 14


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 64, 44), (64, 44)),
        ((2, 32, 32), (64, 44)),
        ((64, 64), (64, 44)),
        ((1, 2, 64, 64), (64, 44)),
        ((2, 64, 64), (128, 88)),
        ((10_001, 64, 64), (64, 44)),
    ],
)
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    with pytest.raises(DatasetError, match="expected"):
        cut(np.broadcast_to(np.uint8(0), shape), size)


def standing(length: int = 16, side: int = 64) -> np.ndarray:
    frames = np.zeros((length, side, side), np.uint8)
    frames[:, :, side // 3 : side // 2] = 255
    return frames


def test_a_tree_is_converted_and_everything_wrong_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "pkl"
    write_pickle(root, "001/nm-01/000", standing())
    write_pickle(root, "001/nm-01/090", standing(length=3), protocol=2)
    write_pickle(root, "002/nm-01/000", standing(0))
    write_pickle(root, "002/nm-01/090", np.concatenate([standing()[:1] * 0, standing()]))
    write_pickle(root, "003/nm-01/000", standing()).write_bytes(HOSTILE["os.system"])
    write_pickle(root, "003/nm-01/090", standing()).rename(root / "003/nm-01/090/any.pkl")
    write_pickle(root, "004/nm-01/000", standing()).with_name("other.pkl").write_bytes(b"x")
    (root / "004/nm-01/000/notes.txt").write_text("hello")
    several = write_pickle(root, "004/nm-01/090", standing())
    for name in ("a.pkl", "b.pkl"):
        several.with_name(name).write_bytes(several.read_bytes())
    several.unlink()
    (root / "005" / "nm-01" / "000").mkdir(parents=True)

    layout = opengait()
    pack(layout.scan(root), tmp_path / "packed", (64, 44), layout=layout)

    dataset = open_packed(tmp_path / "packed")
    assert [s.name for s in dataset.samples] == [
        "001/nm-01/000",
        "001/nm-01/090",
        "002/nm-01/090",
        "003/nm-01/090",
        "004/nm-01/000",
    ]
    for sample in dataset.samples:
        walk = standing(sample.length)[:, :, 10:54]
        np.testing.assert_array_equal(sample.silhouettes(), walk)
    report = dataset.report
    assert report.empty == (
        "002/nm-01/000 (no body in 0 pictures)",
        "005/nm-01/000 (no .pkl file)",
    )
    assert report.short == ("001/nm-01/090 (3 frames)",)
    assert report.partial == ("002/nm-01/090 (1 of 17 frames: empty)",)
    assert report.ignored == ("004/nm-01/000/notes.txt", "004/nm-01/000/other.pkl")
    assert [line.partition(" (")[0] for line in report.broken] == [
        "003/nm-01/000/000.pkl",
        "004/nm-01/090",
    ]
    assert "system" in report.broken[0]


def test_views_of_people_who_walk_to_the_right_are_mirrored(tmp_path: Path) -> None:
    for view in ("090", "270"):
        write_pickle(tmp_path / "pkl", f"00001/00/{view}", standing())
    layout = opengait(["270"])
    pack(layout.scan(tmp_path / "pkl"), tmp_path / "packed", (64, 44), layout=layout)
    plain, mirrored = open_packed(tmp_path / "packed").samples
    np.testing.assert_array_equal(plain.silhouettes(), standing()[:, :, 10:54])
    np.testing.assert_array_equal(mirrored.silhouettes(), _mirrored(standing())[:, :, 10:54])


def test_what_is_no_walk_is_listed_in_every_view(tmp_path: Path) -> None:
    for view in ("090", "180", "270"):
        write_pickle(tmp_path / "pkl", f"00001/00/{view}", standing())
        write_pickle(tmp_path / "pkl", f"00002/00/{view}", np.array(5, np.uint8))
    layout = opengait(["180", "270"])
    pack(layout.scan(tmp_path / "pkl"), tmp_path / "packed", (64, 44), layout=layout)
    dataset = open_packed(tmp_path / "packed")
    assert (dataset.subjects, len(dataset.report.broken)) == (("00001",), 3)


def test_mirrored_squares_are_those_of_mirrored_people() -> None:
    masks = list(render_walk(1, "nm-01", 0, WalkerSettings(frames=6)))
    theirs = squares([np.ascontiguousarray(mask[:, ::-1]) for mask in masks])
    ours = _mirrored(squares(masks))
    assert np.abs(ours.astype(int) - theirs)[:, :, 10:54].mean() < 1.0


def test_the_command_converts_and_sends_others_to_the_right_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "pkl", tmp_path / "packed"
    write_pickle(root, "001/nm-01/000", standing(side=128))
    report = tmp_path / "report.json"
    arguments = ["convert", str(root), str(out), "--workers", "1", "--size", "128x88"]
    assert main([*arguments, "--report", str(report)]) == 0
    assert "1 samples of 1 subjects, 16 frames" in capsys.readouterr().out
    told = json.loads(report.read_text())
    assert told["layout"] == "opengait"
    # What CASIA-B promises is known by its names, whichever way its files came.
    assert len(told["missing_subjects"]) == 123
    assert len(told["missing"]) == 109
    assert main(["pack", str(root), str(tmp_path / "other")]) == 2
    assert "metagait convert" in capsys.readouterr().err
    write_sample(tmp_path / "png", "001/nm-01/000", [standing()[0]])
    assert main(["convert", str(tmp_path / "png"), str(tmp_path / "other")]) == 2
    assert "metagait pack" in capsys.readouterr().err
    for wrong in (tmp_path, root / "001"):
        assert main(["convert", str(wrong), str(tmp_path / "other")]) == 2
        assert f"try {root}\n" in capsys.readouterr().err


def test_pickles_of_black_bodies_on_white_are_listed(tmp_path: Path) -> None:
    write_pickle(tmp_path / "pkl", "001/nm-01/000", standing())
    write_pickle(tmp_path / "pkl", "001/nm-01/090", 255 - standing())
    layout = opengait()
    report = pack(layout.scan(tmp_path / "pkl"), tmp_path / "packed", (64, 44), layout=layout)
    assert report.doubtful == ("001/nm-01/090 (black on white?)",)


def test_what_ou_mvlp_lacks_is_told_of_its_pickles(tmp_path: Path) -> None:
    write_pickle(tmp_path, "00001/00/000", standing())
    assert grid_of_tree(tmp_path) == OU_MVLP
    write_pickle(tmp_path, "10308/00/000", standing())
    assert grid_of_tree(tmp_path) is None


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    class Large(bytes):
        def __len__(self) -> int:
            return 2**40

    with pytest.raises(DatasetError, match="at most"):
        load_array(Large())
