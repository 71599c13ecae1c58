"""The service over HTTP: the real app, gallery and index, with a network done by hand."""

import subprocess
import sys
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Gallery
from model.silhouettes import align
from service.app import create_app
from service.schemas import Enrolled, Identified, Verified
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, mean_picture, npy, png, walker, zipped_walk

Walk = NDArray[np.uint8]
# Builds that the hand-made network tells apart, and one that is near to the first.
PEOPLE = {"ann": 8, "ben": 13, "cem": 18}
NEAR_ANN = 9


def sequence(data: bytes) -> dict[str, Any]:
    return {"sequence": ("walk", data)}


def enroll(client: Caller, subject: str, walk: Walk, **fields: str) -> httpx.Response:
    return client.post("/enroll", data={"subject": subject, **fields}, files=sequence(npy(walk)))


def identify(client: Caller, walk: Walk, **fields: str) -> dict[str, Any]:
    response = client.post("/identify", data=fields, files=sequence(npy(walk)))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.fixture
def people(client: Caller) -> dict[str, Walk]:
    walks = {subject: walker(build) for subject, build in PEOPLE.items()}
    for subject, walk in walks.items():
        assert enroll(client, subject, walk).status_code == 201
    return walks


def distance(one: Walk, other: Walk) -> float:
    a, b = (mean_picture(align(walk).silhouettes) for walk in (one, other))
    return float(np.sqrt(((a.astype(np.float64) - b) ** 2).sum()))


def test_enroll_answers_what_was_kept(client: Caller) -> None:
    walk = np.concatenate([walker(10), np.zeros((2, 96, 72), np.uint8)])
    response = enroll(client, "ann", walk, metadata='{"view": "090"}')
    assert response.status_code == 201
    body = response.json()
    assert Enrolled.model_validate(body).subject == "ann"
    assert body["frames"] == {"received": 22, "used": 20, "dropped": {"empty": 2}}
    assert body["model"] == {"model_id": "fake-000000000000"}
    assert body["gallery"] == {"name": "main", "generation": 1, "subjects": 1, "samples": 1}
    (sample,) = client.get("/subjects/ann").json()["samples"]
    assert sample["sample_id"] == body["sample_id"]
    assert sample["metadata"] == {"view": "090"}


def test_the_same_walk_again_is_a_duplicate_and_not_embedded_again(
    client: Caller, encoder: FakeEncoder
) -> None:
    first, second = enroll(client, "ann", walker(10)), enroll(client, "ann", walker(10))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["duplicate"] is True
    assert second.json()["sample_id"] == first.json()["sample_id"]
    assert second.json()["quality"] == first.json()["quality"]
    assert second.json()["timings_ms"]["encode"] == 0
    assert encoder.batches == [[20]]
    assert enroll(client, "ben", walker(10)).status_code == 201
    assert encoder.batches == [[20], [20]]
    client.delete("/subjects/ann")
    assert enroll(client, "ann", walker(10)).status_code == 201


def test_identify_ranks_by_distance_as_worked_out_by_hand(
    client: Caller, people: dict[str, Walk]
) -> None:
    probe = walker(NEAR_ANN)
    answer = identify(client, probe)
    Identified.model_validate(answer)
    expected = sorted((distance(probe, walk), subject) for subject, walk in people.items())
    assert [one["subject"] for one in answer["candidates"]] == [who for _, who in expected]
    assert [one["rank"] for one in answer["candidates"]] == [1, 2, 3]
    np.testing.assert_allclose(
        [one["distance"] for one in answer["candidates"]], [far for far, _ in expected], rtol=1e-4
    )
    assert answer["decision"] == "match"
    assert answer["reasons"] == []
    assert set(answer["timings_ms"]) == {"decode", "align", "queue", "encode", "search", "total"}


def test_every_form_of_a_walk_gives_the_same_answer(
    client: Caller, people: dict[str, Walk]
) -> None:
    probe = walker(NEAR_ANN)
    bodies = [
        sequence(npy(probe)),
        sequence(zipped_walk(probe)),
        [("frames", ("x", png(frame))) for frame in probe],
    ]
    answers = [client.post("/identify", files=body).json() for body in bodies]
    assert answers[0]["candidates"] == answers[1]["candidates"] == answers[2]["candidates"]


def test_a_stranger_is_no_match(client: Caller, people: dict[str, Walk]) -> None:
    answer = identify(client, walker(34))
    assert answer["decision"] == "no_match"
    assert answer["candidates"][0]["distance"] > answer["threshold"]["distance"]


def test_an_empty_gallery_answers_nobody(client: Caller) -> None:
    answer = identify(client, walker(10))
    assert (answer["decision"], answer["candidates"]) == ("no_match", [])


def test_a_short_walk_is_inconclusive(client: Caller, people: dict[str, Walk]) -> None:
    answer = identify(client, people["ann"][:12])
    assert (answer["decision"], answer["reasons"]) == ("inconclusive", ["TOO_FEW_FRAMES"])
    assert identify(client, people["ann"][:13])["decision"] == "match"


def test_without_a_threshold_nothing_is_decided(settings: Settings) -> None:
    encoder = FakeEncoder(threshold=None)
    gallery = Gallery.open(
        settings.data, model_id=encoder.facts.model_id, embedding_length=88, name="other"
    )
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as client:
        enroll(client, "ann", walker(10))
        answer = identify(client, walker(10))
    gallery.close()
    assert (answer["decision"], answer["reasons"]) == ("inconclusive", ["NO_THRESHOLD"])
    assert answer["threshold"] is None


def test_without_a_calibration_the_models_threshold_decides_and_says_so(
    client: Caller, people: dict[str, Walk]
) -> None:
    threshold = identify(client, people["ann"])["threshold"]
    assert (threshold["basis"], threshold["valid"], threshold["distance"]) == ("model", False, 0.5)
    assert (threshold["calibrated_at_size"], threshold["gallery_size"]) == (3, 3)
    assert "run `metagait calibrate`" in threshold["note"]


@pytest.mark.parametrize("where", ["data", "params"])
def test_limit_comes_by_form_or_query(client: Caller, people: dict[str, Walk], where: str) -> None:
    body = sequence(npy(people["ann"]))
    response = client.post("/identify", files=body, **{where: {"limit": "2"}})
    assert len(response.json()["candidates"]) == 2
    for wrong in ("0", "101", "two", "-1", "٣"):
        refused = client.post("/identify", files=body, **{where: {"limit": wrong}})
        assert refused.status_code == 422


def test_verify_compares_with_one_subject(client: Caller, people: dict[str, Walk]) -> None:
    def verify(subject: str) -> httpx.Response:
        body = sequence(npy(walker(NEAR_ANN)))
        return client.post("/verify", data={"subject": subject}, files=body)

    answer = verify("ann").json()
    Verified.model_validate(answer)
    assert answer["decision"] == "match"
    assert answer["distance"] == pytest.approx(distance(walker(NEAR_ANN), people["ann"]), rel=1e-4)
    assert verify("cem").json()["decision"] == "no_match"
    assert verify("zoe").json()["code"] == "subject_not_found"


def test_subjects_are_listed_page_by_page(client: Caller, people: dict[str, Walk]) -> None:
    first = client.get("/subjects", params={"limit": 2}).json()
    assert [one["subject"] for one in first["subjects"]] == ["ann", "ben"]
    second = client.get("/subjects", params={"limit": 2, "after": first["next"]}).json()
    assert [one["subject"] for one in second["subjects"]] == ["cem"]
    assert second["next"] is None


def test_the_samples_of_a_subject_are_read_page_by_page(client: Caller) -> None:
    made = [enroll(client, "ann", walker(build)).json()["sample_id"] for build in (8, 11, 14)]
    enroll(client, "ben", walker(20))

    def page(**query: str) -> tuple[list[str], str | None]:
        answer = client.get("/subjects/ann", params=query).json()
        return [sample["sample_id"] for sample in answer["samples"]], answer["next"]

    assert page() == (made, None)
    assert page(limit="2") == (made[:2], made[1])
    assert page(limit="2", after=made[1]) == (made[2:], None)
    assert page(limit="3") == (made, None)
    gone = client.get("/subjects/ann", params={"after": "gone"})
    assert (gone.status_code, gone.json()["code"]) == (404, "sample_not_found")
    assert client.get("/subjects/ann?limit=501").status_code == 422


def test_an_erased_subject_is_gone(client: Caller, people: dict[str, Walk]) -> None:
    erased = client.delete("/subjects/ann").json()
    assert (erased["subject"], erased["samples"]) == ("ann", 1)
    assert client.delete("/subjects/ann").status_code == 404
    named = [one["subject"] for one in identify(client, people["ann"])["candidates"]]
    assert "ann" not in named


def test_an_erased_sample_is_gone(client: Caller, people: dict[str, Walk]) -> None:
    sample = enroll(client, "ann", walker(28)).json()["sample_id"]
    assert client.delete(f"/samples/{sample}").json()["subject"] == "ann"
    assert client.delete(f"/samples/{sample}").json()["code"] == "sample_not_found"
    assert len(client.get("/subjects/ann").json()["samples"]) == 1


def test_subject_ids_may_hold_slashes_and_any_letters(client: Caller) -> None:
    for subject in ("site/7", "Åsa 张", "100%"):
        assert enroll(client, subject, walker(10)).status_code == 201
        path = httpx.URL("/subjects/").raw_path.decode() + subject.replace("%", "%25")
        assert client.get(path).json()["subject"] == subject
        assert client.delete(path).status_code == 200


def test_a_walk_can_be_looked_at(client: Caller) -> None:
    kept = enroll(client, "ann", walker(10)).json()["sample_id"]
    seen = client.post("/preview", files=sequence(npy(walker(10)))).json()
    assert (seen["frames"], seen["height"], seen["width"]) == (20, 64, 44)
    assert seen.pop("quality")["faults"] == []
    assert client.get(f"/samples/{kept}/walk").json() == seen
    assert client.get("/subjects").json()["subjects"][0]["samples"] == 1


def test_health(client: Caller) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json()["status"] == "ready"
    info = client.get("/info").json()
    assert info["provider"] == "FakeProvider"
    assert info["limits"]["frames"] == 200
    assert info["model"]["parts"] * info["model"]["dimensions"] == 88


def test_a_gallery_of_another_model_is_not_ready_and_names_the_way_out(
    settings: Settings, gallery: Gallery, encoder: FakeEncoder
) -> None:
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as client:
        enroll(client, "ann", walker(10))
    other = FakeEncoder(model_id="fake-111111111111")
    opened = Gallery.open(settings.data, model_id=other.facts.model_id, embedding_length=88)
    with calling(create_app(settings, encoder=other, gallery=opened)) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
        assert "metagait rebuild" in ready.json()["detail"]
        refused = client.post("/identify", files=sequence(npy(walker(10))))
        assert (refused.status_code, refused.json()["code"]) == (409, "model_mismatch")
    opened.close()


def test_the_page_loads_nothing_from_elsewhere(client: Caller) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert "//" not in page.text.replace("<!doctype", "")
    for name in ("app.js", "style.css", "icon.svg"):
        assert f"/web/{name}" in page.text
        file = client.get(f"/web/{name}")
        assert (file.status_code, file.headers["cache-control"]) == (200, "no-cache")


def test_the_documentation_describes_every_route(client: Caller) -> None:
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert {"enroll", "identify", "verify", "erase_subject", "erase_sample"} <= set(names)
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["responses"]["500"] == {"$ref": "#/components/responses/Problem500"}


def test_the_service_imports_no_torch() -> None:
    check = "import sys, service.app, service.serve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
