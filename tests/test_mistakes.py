"""What somebody who is in a hurry sends: each mistake is named, none is passed over in silence."""

import gzip

import pytest

from gallery import Gallery
from tests.caller import Caller
from tests.fakes import npy, walker
from tests.test_service_refusals import check_problem, sequence

WALK = npy(walker(10))
ANN = {"data": {"subject": "ann"}, "files": sequence(WALK)}


def test_a_mistyped_gallery_enrols_nobody_into_another_one(
    client: Caller, gallery: Gallery
) -> None:
    response = client.post("/enroll?galery=lab", **ANN)
    check_problem(response, 422, "invalid_request")
    (fault,) = response.json()["errors"]
    assert fault["where"] == "query.galery"
    assert "gallery" in fault["message"]
    assert gallery.size().samples == 0


@pytest.mark.parametrize(
    "path", ["/subjects?limits=3", "/info?verbose=1", "/galleries?x=1", "/jobs?page=2"]
)
def test_no_route_takes_a_name_in_the_query_that_it_does_not_read(
    client: Caller, path: str
) -> None:
    check_problem(client.get(path), 422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/subjects?limit=1&limit=2", "limit"),
        ("GET", "/subjects/ann?after=x&limit=1&after=x", "after"),
        ("DELETE", "/subjects/ann?gallery=main&gallery=main", "gallery"),
        ("POST", "/enroll?subject=ann&subject=ben", "subject"),
        ("POST", "/calibrate?gallery=main&gallery=lab", "gallery"),
    ],
)
def test_a_name_in_the_query_comes_once(
    client: Caller, gallery: Gallery, method: str, path: str, name: str
) -> None:
    assert client.post("/enroll", **ANN).status_code == 201
    response = client.request(method, path, files=sequence(npy(walker(12))))
    check_problem(response, 422, "invalid_request")
    (fault,) = response.json()["errors"]
    assert fault == {"where": f"query.{name}", "message": "expected it once, got it 2 times"}
    assert gallery.size().samples == 1


def test_a_text_field_may_stand_in_the_query_of_a_form(client: Caller) -> None:
    assert client.post("/enroll?subject=ann&gallery=main", files=sequence(WALK)).status_code == 201
    asked = client.post("/identify/batch?limit=1", files=sequence(WALK))
    assert asked.status_code == 200


def test_whoever_watches_may_put_anything_behind_a_public_path(client: Caller) -> None:
    assert client.get("/livez?nocache=1").status_code == 200


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/subjects", "/openapi.json"])
def test_head_is_get_without_the_body(client: Caller, path: str) -> None:
    whole, head = client.get(path), client.request("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_head_of_what_takes_no_get_is_refused(client: Caller) -> None:
    response = client.request("HEAD", "/enroll")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_requests_by_head_are_counted_under_their_route(client: Caller) -> None:
    client.request("HEAD", "/livez")
    assert '{method="HEAD",route="/livez"' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/enroll/", "/identify/", "/v1/enroll"])
def test_a_path_that_is_none_is_not_redirected(client: Caller, path: str) -> None:
    response = client.post(path, **ANN)
    check_problem(response, 404, "not_found")
    assert repr(path) in response.json()["detail"]


def test_a_wrong_method_is_told_the_right_one(client: Caller) -> None:
    response = client.get("/enroll")
    check_problem(response, 405, "method_not_allowed")
    assert response.json()["detail"] == "expected POST here, got GET"
    assert client.post("/livez").headers["allow"] == "GET, HEAD"


def test_a_compressed_body_is_refused_as_such(client: Caller) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/octet-stream"}
    response = client.post("/identify", content=gzip.compress(WALK), headers=headers)
    check_problem(response, 415, "unsupported_format")
    assert "content encoding 'gzip'" in response.json()["detail"]
    twice = [*headers.items(), ("content-encoding", "identity")][::-1]
    check_problem(client.post("/identify", content=WALK, headers=twice), 415, "unsupported_format")
    headers["content-encoding"] = "identity"
    assert client.post("/identify", content=WALK, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"content-encoding": "gzip", "content-type": "application/json"}, "encoding 'gzip'"),
        ({"content-type": "text/plain"}, "application/json, got 'text/plain'"),
        ({}, "application/json, got 'no content type'"),
    ],
)
def test_words_that_are_no_json_are_told_what_is(
    client: Caller, headers: dict[str, str], told: str
) -> None:
    response = client.post("/calibrate", content=b'{"target_fpir": 0.1}', headers=headers)
    check_problem(response, 415, "unsupported_format")
    assert told in response.json()["detail"]
    kinds = ("application/json; charset=utf-8", "application/merge-patch+json", "Application/JSON")
    for kind in kinds:
        taken = client.post(
            "/calibrate", content=b'{"target_fpir": 0.1}', headers={"content-type": kind}
        )
        check_problem(taken, 409, "calibration_refused")


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1.evil.example", "10.0.0.5", "[bad"]
)
def test_without_keys_another_name_than_this_machine_s_opens_nothing(
    client: Caller, host: str
) -> None:
    # A site whose name leads to 127.0.0.1 is one of these, in the browser of who visits it.
    check_problem(client.get("/subjects", headers={"host": host}), 403, "cross_origin")
    assert client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.0.0.2:9", "[::1]:8000"])
def test_this_machine_s_names_are_let_in(client: Caller, host: str) -> None:
    assert client.get("/subjects", headers={"host": host}).status_code == 200


def test_an_origin_that_is_no_url_is_foreign(client: Caller) -> None:
    response = client.post("/identify", files=sequence(WALK), headers={"origin": "http://[bad"})
    check_problem(response, 403, "cross_origin")
