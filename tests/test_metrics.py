"""Metrics: counted where it happens, named by closed lists, and what the dashboard asks for."""

import json
import re
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from gallery import Galleries, Gallery, GalleryStatus, KeyStore
from service.app import create_app
from service.routes.metrics import GALLERIES
from service.settings import Settings
from tests.caller import Caller, calling
from tests.fakes import FakeEncoder, npy, walker

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "metagait.json"
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yml"
STAGES = ("receive", "decode", "align", "quality", "queue", "encode", "gallery")


def read(client: Caller) -> dict[str, float]:
    """Every sample as `name{label="value",…}`, labels in order."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": (
            sample.value
        )
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def sequence(frames: int = 20) -> dict[str, Any]:
    return {"sequence": ("walk", npy(walker(10, frames)))}


def test_what_happened_is_counted(client: Caller) -> None:
    assert client.post("/enroll", data={"subject": "ann"}, files=sequence()).status_code == 201
    assert client.post("/identify", files=sequence()).json()["decision"] == "match"
    assert client.post("/identify", files=sequence(12)).json()["decision"] == "inconclusive"
    counts = read(client)
    assert counts["metagait_requests_total{method=POST,route=/identify,status=200}"] == 2
    assert counts["metagait_requests_total{method=POST,route=/enroll,status=201}"] == 1
    assert counts["metagait_request_seconds_count{route=/identify}"] == 2
    assert counts["metagait_decisions_total{decision=match}"] == 1
    assert counts["metagait_decisions_total{decision=inconclusive}"] == 1
    assert counts["metagait_inconclusive_total{reason=TOO_FEW_FRAMES}"] == 1
    assert counts["metagait_batch_walks_sum{}"] == 3
    assert counts["metagait_batch_frames_sum{}"] == 52
    for stage in STAGES:
        assert counts[f"metagait_stage_seconds_count{{stage={stage}}}"] >= 3, stage


def test_the_state_is_told(client: Caller, encoder: FakeEncoder) -> None:
    client.post("/enroll", data={"subject": "ann"}, files=sequence())
    counts = read(client)
    assert counts["metagait_ready{}"] == 1
    assert counts["metagait_gallery_subjects{gallery=main}"] == 1
    assert counts["metagait_gallery_indexed{gallery=main}"] == 1
    assert counts["metagait_queue_walks{}"] == counts["metagait_walks_in_work{}"] == 0
    assert counts["metagait_body_bytes{}"] == 0
    assert counts["metagait_places{}"] == 64
    (info,) = [name for name in counts if name.startswith("metagait_info")]
    assert encoder.facts.model_id in info
    assert "provider=FakeProvider" in info


def test_each_open_gallery_is_told_and_the_service_is_ready_by_its_own(
    client: Caller, settings: Settings
) -> None:
    with closing(Galleries.open(settings.data)) as stored:
        stored.make("lab")
        stored.make("never-asked-for")
    client.post("/enroll?gallery=lab", data={"subject": "ben"}, files=sequence())
    counts = read(client)
    assert counts["metagait_ready{}"] == 1
    assert counts["metagait_galleries_open{}"] == 2
    assert counts["metagait_gallery_ready{gallery=main}"] == 1
    assert counts["metagait_gallery_ready{gallery=lab}"] == 1
    assert counts["metagait_gallery_subjects{gallery=main}"] == 0
    assert counts["metagait_gallery_subjects{gallery=lab}"] == 1
    assert not any("never" in name for name in counts)
    client.delete("/subjects/ben?gallery=lab")
    assert client.delete("/galleries/lab").status_code == 200
    counts = read(client)
    assert counts["metagait_galleries_open{}"] == 1
    assert not any("gallery=lab" in name for name in counts)


def test_a_gallery_that_another_process_deleted_is_forgotten(
    client: Caller, settings: Settings
) -> None:
    client.put("/galleries/lab")
    client.get("/subjects?gallery=lab")
    assert "metagait_gallery_ready{gallery=lab}" in read(client)
    with closing(Galleries.open(settings.data)) as stored:
        stored.delete("lab")
    assert not any("lab" in name for name in read(client))
    assert read(client)["metagait_galleries_open{}"] == 1


def test_only_so_many_galleries_are_named(client: Caller) -> None:
    for number in range(GALLERIES + 3):
        client.put(f"/galleries/g{number}")
        client.get(f"/subjects?gallery=g{number}")
    counts = read(client)
    assert counts["metagait_galleries_open{}"] == GALLERIES + 4
    named = [name for name in counts if name.startswith("metagait_gallery_ready")]
    assert len(named) == GALLERIES
    assert "metagait_gallery_ready{gallery=main}" in named


def test_a_key_for_one_gallery_reads_nothing_of_others(client: Caller, settings: Settings) -> None:
    for name in (*(f"g{number}" for number in range(GALLERIES)), "lab"):
        client.put(f"/galleries/{name}")
    with closing(KeyStore.open(settings.data)) as store:
        _, text = store.create("lab", ["read"], galleries=["lab"])
    wait_until_keyed(client)
    told = client.get("/metrics", headers={"Authorization": f"Bearer {text}"}).text
    assert 'metagait_gallery_samples{gallery="lab"}' in told
    assert "main" not in told
    assert 'gallery="g0"' not in told
    assert "metagait_ready 1.0" in told


def wait_until_keyed(client: Caller) -> None:
    """Keys that were read last are believed for two seconds."""
    deadline = time.monotonic() + 20
    while client.get("/info").status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Behind(Gallery):
    """A gallery whose index misses a sample."""

    def status(self) -> GalleryStatus:
        return replace(super().status(), indexed=0, in_sync=False)


def test_an_index_that_is_behind_is_told_by_how_much(
    settings: Settings, encoder: FakeEncoder
) -> None:
    behind = Behind.open(settings.data, model_id=encoder.facts.model_id, embedding_length=88)
    with (
        closing(behind),
        calling(create_app(settings, encoder=encoder, gallery=behind)) as client,
    ):
        client.post("/enroll", data={"subject": "ann"}, files=sequence())
        counts = read(client)
        assert counts["metagait_ready{}"] == counts["metagait_gallery_ready{gallery=main}"] == 0
        assert counts["metagait_gallery_samples{gallery=main}"] == 1
        assert counts["metagait_gallery_indexed{gallery=main}"] == 0
        assert client.get("/readyz").status_code == 503


def test_refusals_are_counted_by_code_and_paths_stay_secret(client: Caller) -> None:
    client.post("/identify", files={"sequence": ("walk", b"rubbish")})
    client.get("/subjects/a-secret-name")
    client.get("/a-secret-path")
    client.request("BREW", "/livez")
    counts = read(client)
    assert counts["metagait_refusals_total{code=unsupported_format}"] == 1
    assert counts["metagait_refusals_total{code=subject_not_found}"] == 1
    assert counts["metagait_refusals_total{code=not_found}"] == 1
    assert counts["metagait_requests_total{method=GET,route=none,status=404}"] == 1
    assert any("method=other" in name for name in counts)
    assert not any("secret" in name for name in counts)


def test_a_failure_is_counted_as_one(client: Caller, encoder: FakeEncoder) -> None:
    encoder.failure = RuntimeError("the encoder broke")
    assert client.post("/identify", files=sequence()).status_code == 500
    counts = read(client)
    assert counts["metagait_refusals_total{code=internal_error}"] == 1
    assert counts["metagait_requests_total{method=POST,route=/identify,status=500}"] == 1


def test_a_service_that_is_not_ready_still_tells_its_figures(
    settings: Settings, encoder: FakeEncoder, gallery: Gallery
) -> None:
    with calling(create_app(settings, encoder=encoder, gallery=gallery)) as client:
        client.post("/enroll", data={"subject": "ann"}, files=sequence())
    other = FakeEncoder(model_id="fake-111111111111")
    opened = Gallery.open(settings.data, model_id=other.facts.model_id, embedding_length=88)
    with calling(create_app(settings, encoder=other, gallery=opened)) as client:
        assert read(client)["metagait_ready{}"] == 0
    opened.close()


def test_each_application_counts_for_itself(client: Caller, settings: Settings) -> None:
    client.post("/identify", files=sequence())
    with calling(create_app(settings, encoder=FakeEncoder())) as other:
        assert "metagait_batch_walks_sum{}" in read(other)
        assert read(other)["metagait_batch_walks_sum{}"] == 0


def dashboard_queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*panels, *(one["query"]["query"] for one in dashboard["templating"]["list"])]


def alert_queries() -> list[str]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for rule in group["rules"]]


def test_dashboard_and_alerts_ask_for_metrics_that_exist(client: Caller) -> None:
    client.post("/enroll", data={"subject": "ann"}, files=sequence())
    client.post("/identify", files=sequence(12))
    client.get("/nowhere")
    exposed = {name.split("{")[0] for name in read(client)} | {"up"}
    for query in (*dashboard_queries(), *alert_queries()):
        asked = set(re.findall(r"\b(?:metagait|process)_\w+|\bup\b", query))
        assert asked, query
        assert asked <= exposed, query


def test_the_dashboard_shows_every_metric(client: Caller) -> None:
    shown = " ".join(dashboard_queries())
    client.get("/nowhere")
    for family in text_string_to_metric_families(client.get("/metrics").text):
        name = family.name
        if name.startswith("metagait_") and not name.endswith("_created"):
            assert name in shown, name


def test_panels_have_their_own_ids_and_places() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
