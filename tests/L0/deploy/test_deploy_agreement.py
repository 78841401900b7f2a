"""What the image, compose, the chart and `vico serve` must say alike."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from deployed import OPTIONS, ROOT, compose_servers, dockerfile, parsed
from deployed_queries import selectors
from helm_chart import CASES, CHART, EVERYTHING, one, pod, render, server

from serving.cli import _tls_files
from serving.command import EXIT_TIMEOUT_SECONDS
from serving.config import MIB, ServingConfig
from serving.errors import LaunchError
from serving.front.exposure import require_safe
from serving.front.keys import Key, KeyFile, hashed, write_keys
from serving.installation import find_installation
from serving.secret_file import others_may_read
from serving.telemetry.catalogue import CATALOGUE

CHARTS = {f"chart, {name}": render(values) for name, values in CASES.items()}
ARGUMENTS: dict[str, list[str]] = {
    **{f"compose, {profile}": service["command"] for profile, service in compose_servers().items()},
    **{name: server(manifests)["args"] for name, manifests in CHARTS.items()},
}
EVERYWHERE = pytest.mark.parametrize("place", ARGUMENTS)
END_SECONDS = 10 + EXIT_TIMEOUT_SECONDS + 5
"""What the front door (serving/front/process.py) and Triton (serving/launcher.py) may take to end after the grace."""


def values_of(place: str) -> dict[str, Any]:
    """Values of `vico serve`'s options; compose's variables at their defaults."""
    return parsed([argument.replace("${VICO_DEVICE:-cuda}", "cuda") for argument in ARGUMENTS[place]])


@EVERYWHERE
def test_vico_serve_takes_the_arguments(place: str) -> None:
    values = values_of(place)
    secured = {"has_keys": values["keys"] is not None, "has_tls": values["tls_cert"] and values["tls_key"]}
    require_safe(values["host"], **secured, insecure=False)
    assert not values["insecure"]


@EVERYWHERE
def test_every_option_is_known(place: str) -> None:
    assert {argument.partition("=")[0] for argument in ARGUMENTS[place]} <= set(OPTIONS)


@EVERYWHERE
def test_metrics_listen_beyond_the_loopback(place: str) -> None:
    assert values_of(place)["metrics_host"] == "0.0.0.0"


def test_ports() -> None:
    defaults = {OPTIONS["--grpc-port"].default, OPTIONS["--metrics-port"].default}
    _, stages = dockerfile()
    assert {int(port) for port in stages["gpu"].one("EXPOSE").split()} == defaults
    for manifests in CHARTS.values():
        assert {port["containerPort"] for port in server(manifests)["ports"]} == defaults
    for place in ARGUMENTS:
        assert {values_of(place)[name] for name in ("grpc_port", "metrics_port")} == defaults


def probes() -> dict[str, list[str]]:
    found = {f"compose, {p}": service["healthcheck"]["test"][1:] for p, service in compose_servers().items()}
    for name, manifests in CHARTS.items():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            found[f"{name}, {probe}"] = server(manifests)[probe]["exec"]["command"]
    return found


@pytest.mark.parametrize("place", probes())
def test_probes_go_through_the_front_as_clients_do(place: str) -> None:
    command = probes()[place]
    _, stages = dockerfile()
    for stage in ("cpu", "gpu"):
        assert any(value.endswith(f"/bin/{command[0]}") for value in stages[stage].all("COPY"))
    assert f"-addr=127.0.0.1:{OPTIONS['--grpc-port'].default}" in command
    assert "-tls" in command
    mutual = any(argument.startswith("--tls-client-ca") for argument in ARGUMENTS[place.rpartition(", ")[0]
                 if place.startswith("chart") else place])  # fmt: skip
    shown = {argument.partition("=")[0] for argument in command} & {"-tls-client-cert", "-tls-client-key"}
    assert len(shown) == (2 if mutual else 0)


@pytest.mark.parametrize("case", CASES)
def test_every_file_of_the_arguments_is_mounted(case: str) -> None:
    manifests = CHARTS[f"chart, {case}"]
    volumes = {volume["name"]: volume for volume in pod(manifests)["volumes"]}
    files: set[str] = set()
    for mount in server(manifests)["volumeMounts"]:
        for source in volumes[mount["name"]].get("projected", {}).get("sources", ()):
            files |= {f"{mount['mountPath']}/{item['path']}" for item in source["secret"]["items"]}
        files.add(mount["mountPath"])
    given = {argument.partition("=")[2] for argument in ARGUMENTS[f"chart, {case}"]}
    assert {path for path in given if path.startswith("/")} <= files


def test_every_file_of_the_arguments_is_in_compose() -> None:
    for profile, service in compose_servers().items():
        targets = [volume.removesuffix(":ro").rpartition(":")[2] for volume in service["volumes"]]
        given = {argument.partition("=")[2] for argument in ARGUMENTS[f"compose, {profile}"]}
        for path in given:
            assert not path.startswith("/") or any(path == t or path.startswith(f"{t}/") for t in targets), path


def test_secrets_have_the_same_names_everywhere() -> None:
    def files(place: str) -> set[str]:
        named = (argument.partition("=")[2] for argument in ARGUMENTS[place])
        return {Path(path).name for path in named if path.startswith("/run/")}

    assert files("compose, gpu") == files("compose, cpu") == {"keys.json", "tls.crt", "tls.key", "admin"}
    optional = {"ca.crt", "signer.pub", "watermark", "provenance.crt", "provenance.key"}
    assert files("chart, everything") == files("compose, gpu") | optional


def test_the_image_runs_as_whom_the_volumes_expect() -> None:
    _, stages = dockerfile()
    uid, gid = (int(part) for part in stages["gpu"].one("USER").split(":"))
    for manifests in CHARTS.values():
        context = pod(manifests)["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (uid, gid, gid)
    assert f"uid {uid}" in " ".join(compose_servers()["gpu"]["volumes"])


@pytest.mark.parametrize("case", CASES)
def test_the_end_of_a_pod_waits_for_the_drain(case: str) -> None:
    manifests = CHARTS[f"chart, {case}"]
    pause = server(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = values_of(f"chart, {case}")["grace"]
    assert grace == {**yaml.safe_load((CHART / "values.yaml").read_text()), **CASES[case]}["stopSeconds"]
    assert pod(manifests)["terminationGracePeriodSeconds"] >= pause + grace + END_SECONDS


def test_the_end_of_a_composed_server_waits_for_the_drain() -> None:
    for profile, service in compose_servers().items():
        assert (
            int(service["stop_grace_period"].removesuffix("s"))
            >= values_of(f"compose, {profile}")["grace"] + END_SECONDS
        )


@pytest.mark.parametrize("case", CASES)
def test_nobody_kills_a_server_that_is_loading(case: str) -> None:
    container = server(CHARTS[f"chart, {case}"])
    start = values_of(f"chart, {case}")["start_timeout"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["periodSeconds"] * container[probe]["failureThreshold"] > start
    deployment = one(CHARTS[f"chart, {case}"], "Deployment")
    assert deployment["spec"]["progressDeadlineSeconds"] > start


def test_a_composed_server_may_take_its_time_to_load() -> None:
    for profile, service in compose_servers().items():
        assert (
            int(service["healthcheck"]["start_period"].removesuffix("s"))
            >= values_of(f"compose, {profile}")["start_timeout"]
        )


def test_the_scratch_volume_holds_the_store() -> None:
    config = ServingConfig(Path(), Path())
    size = yaml.safe_load((CHART / "values.yaml").read_text())["scratch"]
    assert int(size.removesuffix("Gi")) * 1024 * MIB > config.store_bytes


def test_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == project
    assert {service["image"] for service in compose_servers().values()} == {
        f"vico:{project}-gpu",
        f"vico:{project}-cpu",
    }


def test_the_chart_and_vico_serve_have_the_same_defaults_and_bounds() -> None:
    given = yaml.safe_load((CHART / "values.yaml").read_text())["server"]
    for name, option in (
        ("maxLanes", "--max-lanes"), ("maxRows", "--max-rows"), ("maxQueue", "--max-queue"), ("slots", "--slots"),
        ("maxClientQueue", "--max-client-queue"), ("connectionSeconds", "--connection-seconds"),
        ("hostMib", "--host-mib"), ("referenceMib", "--reference-mib"),
    ):  # fmt: skip
        assert given[name] == OPTIONS[option].default
    outputs = yaml.safe_load((CHART / "values.yaml").read_text())["outputs"]
    for name, option in (
        ("safetyChecker", "--safety-checker"), ("safetyAnswer", "--safety-answer"),
        ("safetySeconds", "--safety-seconds"), ("watermarkId", "--watermark-id"),
    ):  # fmt: skip
        assert outputs[name] == OPTIONS[option].default


def test_what_is_done_with_pictures_reaches_the_server() -> None:
    values, asked = values_of("chart, everything"), EVERYTHING["outputs"]
    assert (values["safety_checker"], values["safety_answer"], values["safety_seconds"]) == (
        "our.checks:check",
        "error",
        2.5,
    )
    assert values["watermark_id"] == asked["watermarkId"]
    assert values["provenance_claim"] == asked["provenanceClaims"]
    assert not any("safety" in argument or "watermark" in argument for argument in ARGUMENTS["chart, least"])


def test_the_images_have_what_the_outputs_need() -> None:
    _, stages = dockerfile()
    for stage in ("cpu-environment", "gpu-environment"):
        assert any(",provenance]" in command for command in stages[stage].all("RUN"))


def query() -> str:
    [trigger] = one(render(EVERYTHING), "ScaledObject")["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


def test_the_autoscaler_asks_for_the_queue_time_of_its_own_release() -> None:
    found = selectors(promql_parser.parse(query()))
    assert [selector.name for selector in found] == ["vico_queue_seconds_sum", "vico_queue_seconds_count"]
    service = one(render(EVERYTHING), "Service")["metadata"]["name"]
    for selector in found:
        matchers = {m.name: m.value for m in selector.matchers.matchers}
        assert matchers == {"namespace": "pictures", "service": service}


def test_the_server_exports_what_the_autoscaler_asks_for() -> None:
    exported = {name for metric in CATALOGUE for name in metric.series}
    assert {selector.name for selector in selectors(promql_parser.parse(query()))} <= exported


def test_renewed_keys_count_through_the_links_of_a_mounted_secret(tmp_path: Path) -> None:
    """kubelet swaps the link `..data` to a new folder and removes the old one."""

    def publish(version: str, client: str) -> None:
        (tmp_path / version).mkdir()
        write_keys(tmp_path / version / "keys.json", [Key(client=client, tenant=client, sha256=hashed(client))])
        (tmp_path / "..new").symlink_to(version)
        os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - kubelet's own way

    publish("..1", "old")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    file = KeyFile(tmp_path / "keys.json")
    assert file.find("old")
    publish("..2", "new")
    (tmp_path / "..1" / "keys.json").unlink()
    assert file.find("new")
    assert not file.find("old")


def test_vico_serve_keeps_the_links_of_a_mounted_secret(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / f"1-{name}").write_text("-")
        (tmp_path / name).symlink_to(f"1-{name}")
    files = _tls_files(tmp_path / "tls.crt", tmp_path / "tls.key", None)
    assert files is not None
    assert files.certificate == str(tmp_path / "tls.crt")


def test_vico_serve_finds_the_triton_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, _ = dockerfile()[1]["gpu"].one("ENV").rpartition(" ")[2].partition("=")
    monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(LaunchError, match=name):
        find_installation()


def test_vico_serve_accepts_secrets_as_they_are_mounted() -> None:
    """Root's, of the pod's group, with the mode that the chart says: nobody but that group reads them."""
    of_pod = pod(render(EVERYTHING))
    [volume] = [volume for volume in of_pod["volumes"] if volume["name"] == "secrets"]
    user, group = of_pod["securityContext"]["runAsUser"], of_pod["securityContext"]["fsGroup"]
    mode = stat.S_IFREG | volume["projected"]["defaultMode"]
    mounted = os.stat_result((mode, 1, 1, 1, 0, group, 1, 0, 0, 0))
    assert not others_may_read(mounted, user, {group})
    assert others_may_read(mounted, user, {group + 1}), "the test means something"
