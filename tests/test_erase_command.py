"""`metagait erase`: what the service's `DELETE` does, on the store itself."""

import json

import pytest

from gallery import Gallery
from gallery.indexes.choose import IndexChoice
from metagait import main
from tests.fakes import npy, walker
from tests.galleries import LENGTH, embedding, open_gallery, walk


def where(location):
    return ["--database" if "://" in str(location) else "--data", str(location)]


def erase(capsys, *arguments):
    assert main(["erase", *arguments]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_a_gallery_that_is_open_finds_nobody_who_was_erased_by_the_command(location, capsys):
    gallery = open_gallery(location)
    ids = [
        gallery.enroll(who, embedding(seed), silhouettes=walk(seed)).sample.sample_id
        for seed, who in enumerate(("José", "José", "ben"))
    ]
    assert gallery.identify(embedding(1))[0].sample_id == ids[1]
    answer, said = erase(capsys, "--sample", ids[1], *where(location))
    assert (answer["subject"], answer["samples"], said) == ("José", 1, "")
    assert not answer["receipt"]["subject_erased"]
    assert ids[1] not in [one.sample_id for one in gallery.identify(embedding(1))]
    answer, _ = erase(capsys, "Jose\u0301", *where(location))
    receipt = answer["receipt"]
    assert (receipt["subject_erased"], receipt["samples"], receipt["silhouettes"]) == (True, 1, 1)
    proof = receipt["proof"]
    assert (proof["rows"], proof["searches"], proof["found"], proof["indexed"]) == (0, 0, 0, 0)
    assert proof["files"] == ("vacuumed" if "://" in str(location) else "overwritten")
    assert [one.subject for one in gallery.identify(embedding(0))] == ["ben"]
    assert (gallery.status().indexed, gallery.status().in_sync) == (1, True)
    assert gallery.receipt(receipt["receipt_id"]).subject_digest == receipt["subject_digest"]
    gallery.close()


def test_the_service_s_receipt_is_the_one_that_the_command_printed(settings, client, capsys):
    files = {"sequence": ("walk.npy", npy(walker(14)))}
    client.post("/enroll", data={"subject": "ada"}, files=files)
    assert client.post("/identify", files=files).json()["candidates"]
    answer, _ = erase(capsys, "ada", *where(settings.data))
    assert client.post("/identify", files=files).json()["candidates"] == []
    kept = client.get(f"/receipts/{answer['receipt']['receipt_id']}").json()
    assert kept == answer["receipt"]
    client.post("/enroll", data={"subject": "ada"}, files=files)
    assert set(client.delete("/subjects/ada").json()) == set(answer)


def test_files_of_an_index_are_left_to_whoever_searches_them(tmp_path, capsys):
    def opened():
        choice = IndexChoice(kind="compact", folder=tmp_path / "index")
        return Gallery.open(tmp_path, model_id="model-a", embedding_length=LENGTH, index=choice)

    gallery = opened()
    for seed, who in enumerate(("anna", "ben")):
        gallery.enroll(who, embedding(seed), silhouettes=None)
    gallery.close()
    answer, said = erase(capsys, "anna", *where(tmp_path))
    assert answer["receipt"]["proof"]["files"] == "pending"
    assert "until the service's next write or start" in said
    again = opened()
    trace = embedding(0).tobytes()
    assert not any(trace in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert [one.subject for one in again.identify(embedding(0))] == ["ben"]
    again.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "one of the two"),
        (["anna", "--sample", "0123"], "one of the two"),
        (["zoe"], "got 'zoe', who is not in it"),
        (["--sample", "0123"], "got '0123', which is not in it"),
        (["anna", "--gallery", "lab"], "lab"),
    ],
)
def test_whom_it_cannot_erase_is_a_sentence(tmp_path, capsys, wrong, said):
    gallery = open_gallery(tmp_path)
    gallery.enroll("anna", embedding(0), silhouettes=walk(0))
    gallery.close()
    assert main(["erase", *wrong, *where(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    again = open_gallery(tmp_path)
    assert again.status().samples == 1
    again.close()
