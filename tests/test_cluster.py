"""The cluster profile: two replicas, their database, their index, and nginx in front."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from service.connections import KEEP_ALIVE_S
from service.errors import SettingsError
from service.settings import Settings
from tests.deployment import REPLICAS, ROOT, compose, image_environment, metagait_settings


def test_two_replicas_share_one_database_and_start_one_after_the_other() -> None:
    first, second = (compose()["services"][name] for name in REPLICAS)
    assert first["image"] == second["image"]
    assert first["build"]["args"]["EXTRA"] == "cpu,postgres,milvus"
    assert first["environment"] == second["environment"]
    healthy = {"condition": "service_healthy"}
    assert first["depends_on"] == {"postgres": healthy, "milvus": healthy}
    assert second["depends_on"] == {"api-1": {"condition": "service_healthy"}}
    settings = Settings(**metagait_settings(image_environment() | first["environment"]))  # type: ignore[arg-type]
    assert settings.database_file == Path("/run/secrets/database-url")


def test_the_replicas_search_in_milvus_which_nobody_else_reaches() -> None:
    everything = compose()
    services = everything["services"]
    on_its_network = {n for n, one in services.items() if "vectors" in one.get("networks", [])}
    assert on_its_network == {*REPLICAS, "milvus"}
    assert services["milvus"]["networks"] == ["vectors"]
    assert everything["networks"] == {"vectors": {"internal": True}}
    for name in REPLICAS:
        # The gateway and PostgreSQL are on the default network.
        assert "default" in services[name]["networks"]
        choice = Settings(**metagait_settings(services[name]["environment"])).index_choice()  # type: ignore[arg-type]
        assert (choice.kind, choice.milvus_url) == ("milvus", "http://milvus:19530")
        assert choice.milvus_type == "FLAT"


def test_milvus_keeps_everything_in_its_volume_and_its_etcd_to_itself() -> None:
    milvus = compose()["services"]["milvus"]
    kept, etcd = (volume.split(":") for volume in milvus["volumes"])
    environment = milvus["environment"]
    assert environment["COMMON_STORAGETYPE"] == "local"
    assert environment["ETCD_USE_EMBED"] == "true"
    assert environment["ETCD_DATA_DIR"].startswith(f"{kept[1]}/")
    assert environment["ETCD_CONFIG_PATH"] == etcd[1]
    assert etcd[2] == "ro"
    listening = yaml.safe_load((ROOT / etcd[0]).read_text(encoding="utf-8"))
    urls = [value for name, value in listening.items() if name.endswith("-urls")]
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    uid, gid = milvus["user"].split(":")
    assert f"/run/milvus:uid={uid},gid={gid}" in milvus["tmpfs"]


def test_the_database_url_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text("postgresql://metagait:secret@postgres/metagait\n", encoding="utf-8")
    assert Settings(database_file=file).store() == "postgresql://metagait:secret@postgres/metagait"
    with pytest.raises(SettingsError, match="expected a database URL in"):
        Settings(database_file=tmp_path / "none").store()
    file.write_bytes(b"\xff\xfesecret")
    with pytest.raises(SettingsError, match="got: no text in UTF-8"):
        Settings(database_file=file).store()
    file.write_text("postgresql://x/y", encoding="utf-8")
    with pytest.raises(SettingsError, match="got both"):
        Settings(database_file=file, database=SecretStr("sqlite://")).store()


def test_a_database_that_is_no_url_is_never_taken_for_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("secret-host\n")
    for wrong in (Settings(database=SecretStr("secret-host")), Settings(database_file=file)):
        with pytest.raises(SettingsError, match=r"expected a URL such as") as refused:
            wrong.store()
        assert "secret-host" not in str(refused.value)
    assert Settings(data=tmp_path, database=SecretStr("")).store() == tmp_path


def test_the_gateway_spreads_over_the_replicas_and_keeps_the_service_s_rules() -> None:
    gateway, text = compose()["services"]["gateway"], (ROOT / "docker/nginx.conf").read_text()
    assert (
        set(re.findall(r"server ([\w-]+):8000", text))
        == set(REPLICAS)
        == set(gateway["depends_on"])
    )
    (port,) = re.findall(r"listen (\d+);", text)
    assert gateway["ports"][0].endswith(f":{port}")
    assert f"client_max_body_size {Settings.model_fields['max_upload_mb'].default}m;" in text
    assert "proxy_set_header Host $http_host;" in text
    assert "proxy_request_buffering off;" in text
    assert "non_idempotent" not in text
    assert "access_log off;" in text
    (idle_s,) = re.findall(r"keepalive_timeout (\d+)s;", text)
    assert int(idle_s) < KEEP_ALIVE_S


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here to check its file with")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    text = (ROOT / "docker/nginx.conf").read_text()
    for replica in REPLICAS:
        text = text.replace(f"server {replica}:", "server 127.0.0.1:")
    file = tmp_path / "nginx.conf"
    file.write_text(text.replace("/tmp/", f"{tmp_path}/"))
    done = subprocess.run(
        ["nginx", "-t", "-c", str(file), "-e", str(tmp_path / "log"), "-p", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_pulled_image_but_grafana_s_has_a_stand_in() -> None:
    pulled = {
        name
        for name, service in compose()["services"].items()
        if "build" not in service and name != "api-2"
    }
    text = (ROOT / "tests/standins/Dockerfile").read_text(encoding="utf-8")
    stands_in = {"nginx": "gateway"}
    made = {stands_in.get(name, name) for name in re.findall(r"^FROM \S+ AS (\w+)", text, re.M)}
    assert made == pulled - {"grafana"}


@pytest.mark.parametrize("name", ["postgres", "milvus"])
def test_a_stand_in_starts_as_compose_starts_the_image(name: str) -> None:
    service = compose()["services"][name]
    text = (ROOT / "tests/standins/Dockerfile").read_text(encoding="utf-8")
    stage = text.split(f"AS {name}\n")[1].split("\nFROM")[0]
    uid, _ = service["user"].split(":")
    folder = service["volumes"][0].split(":")[1]
    assert re.search(rf"--owner ({uid}|{name}) .*{folder}\b", stage)
