"""The compose file, and what Prometheus and Grafana are given to read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployed import DEPLOY, compose, compose_servers, dockerfile

PROFILES = {"gpu", "cpu"}
SERVERS = compose_servers()


def loaded(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def valid(file: Path) -> bool:
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_schema(tmp_path: Path) -> None:
    assert valid(DEPLOY / "compose.yaml")
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only:", "readonly:"))
    assert not valid(misspelt)


def test_profiles_build_the_image_of_their_name() -> None:
    assert set(SERVERS) == PROFILES
    for profile, service in SERVERS.items():
        assert service["build"]["target"] == profile
        assert profile in dockerfile()[1]
        assert service["image"].endswith(f"-{profile}")
        assert (
            DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]
        ).resolve() == DEPLOY / "Dockerfile"


def test_the_profiles_differ_in_their_device_only() -> None:
    cpu, gpu = (dict(SERVERS[profile]) for profile in ("cpu", "gpu"))
    assert cpu.pop("command")[:-1] == gpu.pop("command")[:-1]
    [device] = gpu.pop("deploy")["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    for service in (cpu, gpu):
        for key in ("profiles", "image", "build"):
            del service[key]
    assert cpu == gpu


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_servers_may_do_nothing_but_serve(profile: str) -> None:
    service = SERVERS[profile]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service  # the image's
    assert "environment" not in service  # secrets are files


def test_only_the_front_is_published_and_on_the_loopback_unless_asked() -> None:
    for service in SERVERS.values():
        assert service["ports"] == ["${VICO_LISTEN:-127.0.0.1}:8001:8001"]
    assert "ports" not in compose()["services"]["prometheus"]
    assert compose()["services"]["grafana"]["ports"] == ["127.0.0.1:3000:3000"]


def test_every_named_volume_and_secret_is_declared() -> None:
    content = compose()
    used = {volume.split(":")[0] for s in content["services"].values() for volume in s.get("volumes", ())}
    named = {name for name in used if re.fullmatch(r"[a-z]+", name)}
    assert named == set(content["volumes"])
    assert {name for s in content["services"].values() for name in s.get("secrets", ())} == set(content["secrets"])


def test_what_is_mounted_from_here_is_here() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source


def test_prometheus_asks_the_server_under_the_name_that_both_profiles_have() -> None:
    [job] = loaded("prometheus/prometheus.yml")["scrape_configs"]
    [[target]] = [config["targets"] for config in job["static_configs"]]
    host, port = target.split(":")
    for service in SERVERS.values():
        assert service["networks"]["default"]["aliases"] == [host]
    assert port == "8002"


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    [source] = loaded("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose()["services"]
    [provider] = loaded("grafana/provisioning/dashboards/vico.yaml")["providers"]
    mounts = [volume.split(":")[:2] for volume in compose()["services"]["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounts
    assert ["./grafana/provisioning", "/etc/grafana/provisioning"] in mounts


def test_dashboards_name_the_data_source_that_is_provisioned() -> None:
    [source] = loaded("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    for dashboard in (DEPLOY / "grafana/dashboards").glob("*.json"):
        named = set(re.findall(r'"type":\s*"prometheus",\s*"uid":\s*"([^"]+)"', dashboard.read_text()))
        assert named <= {source["uid"]}, dashboard.name
