"""The Python client, and the commands that send walks."""

import os
import socket
from pathlib import Path
from types import ModuleType

import cv2
import httpx
import numpy as np
import pytest

from service.client import Client
from service.commands import enroll, folders, identify
from service.errors import NoKeyError, NoWalksError, RefusedError, UnreachableError
from tests.fakes import walker, zipped_walk
from tests.processes import arguments

BUILDS = {"001": 8, "002": 14, "003": 20}


def write_casia_b(root: Path) -> Path:
    """A small CASIA-B tree: three subjects, two conditions, two views."""
    for subject, build in BUILDS.items():
        for condition, extra in (("nm-01", 0), ("bg-01", 1)):
            for view in ("000", "090"):
                folder = root / subject / condition / view
                folder.mkdir(parents=True)
                for position, frame in enumerate(walker(build + extra, 15)):
                    cv2.imwrite(str(folder / f"{position + 1}.png"), frame)
    return root


def write_casia_a(root: Path) -> Path:
    """A small CASIA-A tree: `<subject>/<view>_<pass>.zip`."""
    for subject, build in BUILDS.items():
        (root / subject).mkdir(parents=True)
        for number in (1, 2, 3):
            walk = zipped_walk(walker(build + number, 15))
            (root / subject / f"00_{number}.zip").write_bytes(walk)
    return root


def places(*given: str) -> list[str]:
    return [str(walk.place) for walk in folders.selected(arguments(folders, *given))]


def test_walks_of_a_casia_b_tree_are_found_and_filtered(tmp_path: Path) -> None:
    root = str(write_casia_b(tmp_path))
    assert len(places(root)) == 12
    assert places(root, "--types", "nm-01", "--views", "090") == [
        f"{subject}/nm-01/090" for subject in BUILDS
    ]
    walk = folders.selected(arguments(folders, root))[0]
    assert (walk.subject, walk.metadata) == ("001", {"condition": "bg-01", "view": "000"})


def test_walks_of_a_casia_a_tree_are_selected_by_pattern(tmp_path: Path) -> None:
    root = str(write_casia_a(tmp_path))
    assert places(root, "--select", "*/00_[12].zip") == [
        f"{subject}/00_{number}.zip" for subject in BUILDS for number in (1, 2)
    ]
    walk = folders.selected(arguments(folders, root))[0]
    assert (walk.subject, walk.metadata) == ("001", {"walk": "00_1"})


def test_a_selection_given_twice_takes_both(tmp_path: Path) -> None:
    a, b = (
        str(make(tmp_path / name)) for name, make in (("a", write_casia_a), ("b", write_casia_b))
    )
    assert places(a, "--select", "001/*_1.*", "--select", "003/*_2.*") == [
        "001/00_1.zip",
        "003/00_2.zip",
    ]
    assert len(places(b, "--types", "nm-01", "--types", "bg-01", "--views", "000")) == 6


def test_a_path_without_walks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoWalksError, match=r"expected walks at .*\.npz"):
        places(str(tmp_path))
    with pytest.raises(NoWalksError, match="got nothing there"):
        places(str(tmp_path / "mistyped"))
    root = str(write_casia_a(tmp_path))
    with pytest.raises(NoWalksError, match="got 9 that do not"):
        places(root, "--select", "none*")


def test_enroll_and_identify_a_tree(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(write_casia_b(tmp_path))
    assert enroll.run(arguments(enroll, root, "--url", url, "--types", "nm-01")) == 0
    # Both views show the same frames here, but they are two walks of a subject only once.
    assert "3 enrolled" in capsys.readouterr().out
    assert identify.run(arguments(identify, root, "--url", url, "--types", "bg-01")) == 0
    printed = capsys.readouterr().out
    assert "001/bg-01/000: match; nearest: 001" in printed
    assert (
        "decisions bg: 6 match, 0 match with somebody else, 0 inconclusive, 0 no_match\n"
        "rank-1 bg: 100.0 % of 6 walks" in printed
    )


def test_identify_counts_whom_it_took_for_somebody_else(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_casia_a(tmp_path)
    assert enroll.run(arguments(enroll, str(root), "--url", url, "--select", "001/*")) == 0
    (root / "001").rename(root / "009")
    assert identify.run(arguments(identify, str(root), "--url", url, "--select", "009/*")) == 0
    told = "decisions all: 0 match, 3 match with somebody else, 0 inconclusive, 0 no_match"
    assert told in capsys.readouterr().out


def test_enroll_one_file_needs_its_subject(url: str, tmp_path: Path) -> None:
    file = tmp_path / "walk.zip"
    file.write_bytes(zipped_walk(walker(10)))
    with pytest.raises(NoWalksError, match="--subject"):
        enroll.run(arguments(enroll, str(file), "--url", url))
    assert enroll.run(arguments(enroll, str(file), "--url", url, "--subject", "ann")) == 0


def test_a_subject_whose_name_is_no_text_is_refused_and_the_others_are_enrolled(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ann", "\udcff\udcfe", "cem"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "walk.zip").write_bytes(zipped_walk(walker(10)))
    assert enroll.run(arguments(enroll, str(tmp_path), "--url", url)) == 1
    told = capsys.readouterr()
    assert "2 enrolled, 1 refused" in told.out
    assert "\\udcff\\udcfe/walk.zip: expected a subject in UTF-8" in told.err
    assert identify.run(arguments(identify, str(tmp_path), "--url", url)) == 0
    assert "\\udcff\\udcfe/walk.zip: " in capsys.readouterr().out


def test_why_a_walk_is_inconclusive_stands_beside_it(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "short.npy"
    np.save(file, walker(10)[:6], allow_pickle=False)
    with Client(url) as client:
        client.enroll("ann", walker(10))
    assert identify.run(arguments(identify, str(file), "--url", url)) == 0
    assert "inconclusive (TOO_FEW_FRAMES" in capsys.readouterr().out


def test_a_refused_walk_is_told_and_the_rest_goes_on(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_casia_a(tmp_path)
    (root / "001" / "00_1.zip").write_bytes(b"no zip")
    assert enroll.run(arguments(enroll, str(root), "--url", url)) == 1
    printed = capsys.readouterr()
    assert "8 enrolled, 1 refused" in printed.out
    assert "001/00_1.zip" in printed.err


def test_a_walk_that_cannot_be_read_is_told_and_the_rest_goes_on(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_casia_a(tmp_path)
    (root / "001" / "00_0.zip").symlink_to("nowhere")
    (root / "002" / "00_0").mkdir()
    (root / "002" / "00_0" / "1.png").mkdir()
    for command, told in ((enroll, "9 enrolled, 2 refused"), (identify, "rank-1")):
        assert command.run(arguments(command, str(root), "--url", url)) == 1
        printed = capsys.readouterr()
        assert told in printed.out
        assert "001/00_0.zip: expected" in printed.err
        assert "002/00_0: expected" in printed.err


@pytest.mark.parametrize("command", [enroll, identify])
def test_what_is_refused_for_every_walk_ends_the_command(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: ModuleType
) -> None:
    root = str(write_casia_a(tmp_path))
    for gallery in ("none", "\udcff"):
        with pytest.raises(RefusedError, match="gallery_not_found"):
            command.run(arguments(command, root, "--url", url, "--gallery", gallery))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_an_empty_key_file_and_a_url_of_any_bytes_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "walk.zip").touch()
    empty = tmp_path / "empty.key"
    empty.touch()
    with pytest.raises(NoKeyError, match="got an empty text"):
        identify.run(arguments(identify, str(tmp_path), "--key-file", str(empty)))
    with pytest.raises(UnreachableError, match="of printable characters"):
        identify.run(arguments(identify, str(tmp_path), "--url", "http://x/\udcff"))


def test_walks_behind_links_are_found_once_and_none_that_is_hidden(tmp_path: Path) -> None:
    elsewhere = write_casia_a(tmp_path / "elsewhere")
    root = tmp_path / "root"
    root.mkdir()
    (root / "001").symlink_to(elsewhere / "001")
    (root / "circle").symlink_to(root)
    (root / "nowhere").symlink_to("none")
    for litter in ("._00_9.zip", ".trash/00_9.zip", "__MACOSX/00_9.zip", "._pictures/1.png"):
        (root / litter).parent.mkdir(exist_ok=True)
        (root / litter).touch()
    assert places(str(root)) == [f"001/00_{number}.zip" for number in (1, 2, 3)]


def test_the_folder_one_is_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_casia_b(tmp_path)
    monkeypatch.chdir(root / "001" / "nm-01" / "090")
    (walk,) = folders.selected(arguments(folders, "."))
    assert (str(walk), walk.metadata, walk.subject) == ("090", {"walk": "090"}, None)


def test_identify_sums_up_what_was_answered_before_an_interrupt(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(write_casia_a(tmp_path))
    assert enroll.run(arguments(enroll, root, "--url", url)) == 0
    ask = Client.identify
    asked: list[object] = []

    def interrupted(self: Client, walk: Path, **fields: int) -> object:
        asked.append(walk)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, walk, **fields)

    monkeypatch.setattr(Client, "identify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        identify.run(arguments(identify, root, "--url", url, "--at-once", "1"))
    assert "rank-1 all: 100.0 % of 2 walks" in capsys.readouterr().out


def test_a_walk_of_poor_quality_is_enrolled_where_that_is_asked_for(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "walk.zip"
    file.write_bytes(zipped_walk(walker(10, 8)))
    given = (str(file), "--url", url, "--subject", "short")
    assert enroll.run(arguments(enroll, *given)) == 1
    assert "TOO_FEW_FRAMES" in capsys.readouterr().err
    assert enroll.run(arguments(enroll, *given, "--force")) == 0


def test_pictures_older_than_zip_are_sent(url: str, tmp_path: Path) -> None:
    root = write_casia_b(tmp_path)
    for picture in root.rglob("*.png"):
        os.utime(picture, (0, 0))
    assert enroll.run(arguments(enroll, str(root), "--url", url)) == 0


def test_the_client_sends_every_kind_of_walk(url: str, tmp_path: Path) -> None:
    walk = walker(10)
    pictures = []
    for position, frame in enumerate(walk):
        pictures.append(tmp_path / f"{position}.png")
        cv2.imwrite(str(pictures[-1]), frame)
    with Client(url) as client:
        first = client.enroll("site/7", walk, metadata={"view": "090"})
        assert client.enroll("site/7", tmp_path).duplicate
        assert client.enroll("site/7", pictures).sample_id == first.sample_id
        assert client.identify(walk > 0).candidates[0].subject == "site/7"
        assert client.verify("site/7", walk).decision == "match"
        assert [one.subject for one in client.subjects().subjects] == ["site/7"]
        assert client.subject("site/7").samples[0].metadata == {"view": "090"}
        assert client.info().provider == "FakeProvider"
        assert client.erase_sample(first.sample_id).samples == 1
        with pytest.raises(RefusedError, match="sample_not_found") as refused:
            client.erase_sample(first.sample_id)
        assert refused.value.status == 404


def test_the_client_says_when_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Client(url, retries=0) as client, pytest.raises(UnreachableError):
        client.info()


def test_the_client_survives_an_answer_that_is_no_problem() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    with Client("http://x", transport=transport) as client, pytest.raises(RefusedError) as refused:
        client.erase_subject("ann")
    assert (refused.value.status, refused.value.code) == (502, "unknown")
