"""Which threshold is in force, the three outcomes, and both over HTTP."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Calibration, Candidate, Gallery, Interval
from model.quality import Fault
from service.decision import decide, in_force
from tests.caller import Caller
from tests.counting import noted_counts
from tests.fakes import THRESHOLD, npy, walker

MEASURED = Calibration(
    created_at="2026-01-05T10:00:00.000+00:00",
    target_fpir=0.01,
    threshold=2.0,
    threshold_interval=Interval(1.8, 2.2),
    inconclusive_to=2.5,
    fpir=0.0098,
    fpir_interval=Interval(0.004, 0.018),
    fnir=0.05,
    fnir_interval=Interval(0.03, 0.08),
    subjects=300,
    samples=900,
    independent_searches=300,
    nonmated_searches=900,
    mated_searches=900,
    aggregation="nearest",
)


@pytest.mark.parametrize(
    ("calibration", "size", "aggregation", "basis", "says"),
    [
        (MEASURED, 450, "nearest", "calibration", "measured with this gallery"),
        (MEASURED, 451, "nearest", "model", "calibrated at 300 subjects and has 451 now"),
        (MEASURED, 300, "mean of nearest 2", "model", "compares by `mean of nearest 2` now"),
        (None, 300, "nearest", "model", "never measured with this gallery"),
    ],
)
def test_the_calibration_is_in_force_as_long_as_it_holds(
    calibration: Calibration | None, size: int, aggregation: str, basis: str, says: str
) -> None:
    threshold = in_force(calibration, THRESHOLD, gallery_size=size, aggregation=aggregation)
    assert threshold is not None
    assert (threshold.basis, threshold.valid) == (basis, basis == "calibration")
    assert says in threshold.note
    assert threshold.gallery_size == size
    assert threshold.distance == (2.0 if basis == "calibration" else THRESHOLD.distance)


def test_a_model_leaves_open_what_lies_between_its_two_distances() -> None:
    default = replace(THRESHOLD, inconclusive_to=0.7)
    threshold = in_force(None, default, gallery_size=3, aggregation="nearest")
    found = [decide([Candidate(1, "ann", at, "x")], threshold) for at in (0.5, 0.6, 0.7, 0.8)]
    assert [one.answer for one in found] == ["match", "inconclusive", "inconclusive", "no_match"]
    assert found[1].reasons == found[2].reasons == ("NEAR_THRESHOLD",)


def test_a_model_file_of_before_has_no_such_band() -> None:
    assert THRESHOLD.inconclusive_to is None
    threshold = in_force(None, THRESHOLD, gallery_size=3, aggregation="nearest")
    assert threshold is not None
    assert threshold.inconclusive_to == threshold.distance
    assert decide([Candidate(1, "ann", 0.51, "x")], threshold).answer == "no_match"


@pytest.mark.parametrize(("size", "says"), [(3, ""), (4, ", nor with more than 3 subjects")])
def test_a_gallery_larger_than_the_models_own_is_told_so(size: int, says: str) -> None:
    threshold = in_force(None, THRESHOLD, gallery_size=size, aggregation="nearest")
    assert threshold is not None
    assert f"never measured with this gallery{says}:" in threshold.note


def test_without_any_threshold_there_is_none() -> None:
    assert in_force(None, None, gallery_size=3, aggregation="nearest") is None


@pytest.mark.parametrize(
    ("distance", "faults", "answer", "reasons"),
    [
        (2.0, (), "match", ()),
        (2.1, (), "inconclusive", ("NEAR_THRESHOLD",)),
        (2.5, (), "inconclusive", ("NEAR_THRESHOLD",)),
        (2.6, (), "no_match", ()),
        (1.0, ("TOO_FEW_FRAMES",), "inconclusive", ("TOO_FEW_FRAMES",)),
    ],
)
def test_three_outcomes(
    distance: float, faults: tuple[Fault, ...], answer: str, reasons: tuple[str, ...]
) -> None:
    threshold = in_force(MEASURED, None, gallery_size=300, aggregation="nearest")
    decision = decide([Candidate(1, "ann", distance, "x")], threshold, faults=faults)
    assert (decision.answer, decision.reasons) == (answer, reasons)


@pytest.mark.parametrize(
    ("nearest", "following", "reasons", "answer"),
    [
        (1.0, 1.0, ("SEVERAL_SUBJECTS",), "inconclusive"),
        (1.0, 1.5, ("SEVERAL_SUBJECTS",), "inconclusive"),
        (1.0, 1.6, (), "match"),
        (1.8, 2.0, ("SEVERAL_SUBJECTS",), "inconclusive"),
        (1.8, 2.1, (), "match"),
        (2.2, 2.2, ("NEAR_THRESHOLD",), "inconclusive"),
        (2.6, 2.6, (), "no_match"),
    ],
)
def test_of_two_who_are_as_near_none_is_named(
    nearest: float, following: float, reasons: tuple[str, ...], answer: str
) -> None:
    threshold = in_force(MEASURED, None, gallery_size=300, aggregation="nearest")
    both = [Candidate(1, "ann", nearest, "x"), Candidate(2, "ben", following, "y")]
    decision = decide(both, threshold)
    assert (decision.answer, decision.reasons) == (answer, reasons)


def test_without_a_band_only_an_equal_distance_leaves_it_open() -> None:
    threshold = in_force(None, THRESHOLD, gallery_size=3, aggregation="nearest")
    found = [
        decide([Candidate(1, "ann", 0.2, "x"), Candidate(2, "ben", at, "y")], threshold).answer
        for at in (0.2, 0.2001)
    ]
    assert found == ["inconclusive", "match"]


def send(client: Caller, url: str, walk: NDArray[np.uint8], **fields: str) -> dict[str, Any]:
    response = client.post(url, data=fields, files={"sequence": ("w", npy(walk))})
    body: dict[str, Any] = response.json()
    return {"status": response.status_code, **body}


def enroll_people(client: Caller, count: int) -> None:
    for number in range(count):
        walk = walker(8 + number)
        assert send(client, "/enroll", walk, subject=f"p{number}")["status"] in (200, 201)


def test_a_calibration_over_http_decides_until_the_gallery_has_outgrown_it(
    client: Caller, gallery: Gallery
) -> None:
    enroll_people(client, 10)
    refused = client.post("/calibrate", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "calibration_refused")
    assert "at least 300 subjects" in refused.json()["detail"]
    assert client.post("/calibrate", json={"target_fpir": 2}).status_code == 422

    measured = client.post("/calibrate", json={"target_fpir": 0.3}).json()
    answer = send(client, "/identify", walker(8))
    assert answer["threshold"]["basis"] == "calibration"
    assert answer["threshold"]["valid"] is True
    assert answer["threshold"]["distance"] == measured["threshold"]
    assert answer["threshold"]["measured_fpir"] == measured["fpir_interval"]
    assert answer["threshold"]["calibrated_at_size"] == answer["threshold"]["gallery_size"] == 10
    assert client.get("/galleries/main").json()["calibration"] == measured
    for number in range(6):
        embedding = np.full(88, number, np.float32)
        gallery.enroll(f"more{number}", embedding, silhouettes=None)
    outgrown = send(client, "/identify", walker(8))["threshold"]
    assert (outgrown["basis"], outgrown["valid"], outgrown["gallery_size"]) == ("model", False, 16)
    assert "calibrated at 10 subjects and has 16 now" in outgrown["note"]


def test_no_answer_to_a_walk_counts_the_gallery(client: Caller, gallery: Gallery) -> None:
    enroll_people(client, 2)
    with noted_counts(gallery) as counting:
        enrolled = send(client, "/enroll", walker(8), subject="anna")["gallery"]
        identified = send(client, "/identify", walker(8))
        verified = send(client, "/verify", walker(8), subject="anna")["gallery"]
        assert counting == []
        assert client.get("/info").status_code == 200
        assert counting != []
    assert (enrolled["subjects"], enrolled["samples"]) == (3, 3)
    assert enrolled == identified["gallery"] == verified
    assert identified["threshold"]["gallery_size"] == 3


def test_the_margin_is_that_to_the_next_subject_however_few_are_asked_for(client: Caller) -> None:
    enroll_people(client, 1)
    assert send(client, "/identify", walker(8))["margin"] is None
    enroll_people(client, 3)
    both = send(client, "/identify", walker(8))
    one = send(client, "/identify", walker(8), limit="1")
    first, second = (candidate["distance"] for candidate in both["candidates"][:2])
    assert len(one["candidates"]) == 1
    assert one["margin"] == both["margin"] == pytest.approx(second - first)


def test_a_walk_under_two_names_names_nobody_until_one_is_erased(client: Caller) -> None:
    for subject in ("ann", "ben"):
        assert send(client, "/enroll", walker(8), subject=subject)["status"] == 201
    send(client, "/enroll", walker(20), subject="cem")
    both = send(client, "/identify", walker(8), limit="1")
    assert (both["decision"], both["reasons"]) == ("inconclusive", ["SEVERAL_SUBJECTS"])
    assert (both["margin"], both["candidates"][0]["distance"]) == (0, 0)
    assert send(client, "/verify", walker(8), subject="ann")["decision"] == "match"
    assert client.delete("/subjects/ben").status_code == 200
    one = send(client, "/identify", walker(8))
    assert (one["decision"], one["candidates"][0]["subject"]) == ("match", "ann")


def test_views_are_related_when_both_are_known(client: Caller) -> None:
    assert send(client, "/enroll", walker(8), subject="ann", metadata='{"view": "036"}')
    assert send(client, "/enroll", walker(14), subject="ben")
    plain = send(client, "/identify", walker(8))
    assert [one["view"] for one in plain["candidates"]] == [None, None]
    seen = send(client, "/identify", walker(8), metadata='{"view": "144"}')
    ann, ben = seen["candidates"]
    assert (ann["view"]["difference"], ann["view"]["nearest_equivalent"]) == (108, 0)
    assert "opposite side" in ann["view"]["words"]
    assert ben["view"] is None
    verified = send(client, "/verify", walker(8), subject="ann", metadata='{"view": 36}')
    assert verified["view"]["words"] == "seen from the same side"


def test_a_conflict_is_reported_and_refused_when_the_gallery_says_so(client: Caller) -> None:
    enroll_people(client, 2)
    reported = send(client, "/enroll", walker(16), subject="p0")
    assert reported["status"] == 201
    assert reported["conflict"]["subject"] == "p1"
    changed = client.request("PATCH", "/galleries/main", json={"conflict": "refuse"})
    assert changed.json()["settings"]["conflict"] == "refuse"
    assert client.get("/galleries/main").json() == changed.json()
    send(client, "/enroll", walker(30), subject="p2")
    refused = send(client, "/enroll", walker(29), subject="p0")
    assert (refused["status"], refused["code"]) == (409, "enrolment_conflict")


def test_settings_over_http_are_checked(client: Caller) -> None:
    unknown = client.request("PATCH", "/galleries/main", json={"colour": "red"})
    wrong = client.request("PATCH", "/galleries/main", json={"aggregation": "median"})
    other = client.get("/galleries/west")
    assert (unknown.status_code, wrong.status_code, other.status_code) == (422, 422, 404)
    assert wrong.json()["code"] == "invalid_setting"
    assert "expected aggregation of nearest, mean" in wrong.json()["detail"]
