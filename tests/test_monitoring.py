"""The monitoring profile: who is scraped, by which key, and what Grafana is given."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deployment import REPLICAS, ROOT, SERVICES, compose


def test_prometheus_scrapes_every_service_and_grafana_finds_what_is_shown() -> None:
    prometheus = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    (names,) = [found["names"] for found in job["dns_sd_configs"]]
    assert set(names) == {*SERVICES, *REPLICAS}
    mounted = [v.split(":")[1] for v in compose()["services"]["grafana"]["volumes"]]
    provided = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/dashboards/metagait.yml").read_text()
    )
    assert provided["providers"][0]["options"]["path"] in mounted
    sources = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    assert f'"uid": "{sources["datasources"][0]["uid"]}"' in (
        ROOT / "docker/grafana/dashboards/metagait.json"
    ).read_text(encoding="utf-8")
    key = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert key in compose()["services"]["prometheus"]["secrets"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here to check with")
def test_prometheus_takes_its_files(tmp_path: Path) -> None:
    text = (ROOT / "docker/prometheus/prometheus.yml").read_text(encoding="utf-8")
    key = tmp_path / "metrics-key"
    key.write_text("mg_id_secret", encoding="utf-8")
    text = text.replace("/run/secrets/metrics-key", str(key))
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus", str(ROOT / "docker/prometheus")))
    done = subprocess.run(
        ["promtool", "check", "config", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    groups = yaml.safe_load((ROOT / "docker/prometheus/alerts.yml").read_text())["groups"]
    rules = sum(len(group["rules"]) for group in groups)
    assert f"{rules} rules found" in done.stdout
