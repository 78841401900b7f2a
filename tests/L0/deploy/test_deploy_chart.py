"""The chart: rendered by Helm, held to Kubernetes' own schemas and to what an operator relies on."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from helm_chart import CASES, CHART, CPU, EVERYTHING, LEAST, HelmError, Manifest, Values, helm, one, pod, render, server

RENDERED = {name: render(values) for name, values in CASES.items()}
OF_OPERATORS: dict[str, Any] = {
    "PrometheusRule": PrometheusRule,
    "ScaledObject": ScaledObject,
    "ServiceMonitor": ServiceMonitor,
}
KUBERNETES = ["1.30", "1.37"]
"""The oldest that the chart is for, and the newest whose schemas are here."""
EVERY_CASE = pytest.mark.parametrize("manifests", RENDERED.values(), ids=RENDERED)


def kinds(manifests: list[Manifest]) -> set[str]:
    return {manifest["kind"] for manifest in manifests}


def check(manifest: Manifest, version: str) -> None:
    if model := OF_OPERATORS.get(manifest["kind"]):
        # what the model does not know, it drops
        told = model.model_validate(copy.deepcopy(manifest)).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert told == manifest
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@EVERY_CASE
def test_schemas(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        check(manifest, version)


@pytest.mark.parametrize("kind", sorted(kinds(RENDERED["everything"])))
def test_the_schemas_see_a_misspelt_field(kind: str) -> None:
    manifest = copy.deepcopy(one(RENDERED["everything"], kind))
    place = manifest if kind == "ServiceAccount" else manifest["spec"]
    place["specc"] = 1
    with pytest.raises((kubernetes_validate.ValidationError, AssertionError)):
        check(manifest, KUBERNETES[-1])


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_lint(values: Values) -> None:
    helm("lint", str(CHART), "--strict", values=values)


def changed(path: str, value: Any) -> Values:
    values = copy.deepcopy(LEAST)
    place = values
    *folders, last = path.split(".")
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("secrets.keys", ""),
        ("secrets.tls", ""),
        ("graphs.claim", ""),
        ("registry.claim", ""),
        ("registry.url", "s3://and/a-claim-too"),
        ("registry.url", "/a/folder"),
        ("device", "gpu"),
        ("gpus", 0),
        ("server.maxLanes", 65),
        ("server.maxLane", 8),
        ("image.digest", "sha256:short"),
        ("networkPolicy.clients", []),
        ("autoscaling.enabled", True),
        ("outputs.safetyChecker", "no function"),
        ("outputs.safetyAnswer", "blur"),
        ("outputs.watermarkId", 65536),
        ("outputs.provenanceClaims", ["prompt"]),
        ("resource", {}),
    ],
)
def test_the_schema_of_the_values_refuses(path: str, value: Any) -> None:
    with pytest.raises(HelmError, match="values don't meet the specifications"):
        render(changed(path, value))


def test_kinds() -> None:
    always = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"}
    assert kinds(RENDERED["cpu"]) == always
    assert kinds(RENDERED["least"]) == always | {"NetworkPolicy"}
    assert kinds(RENDERED["everything"]) == always | {
        "NetworkPolicy",
        "PrometheusRule",
        "ServiceMonitor",
        "ScaledObject",
    }


@EVERY_CASE
def test_containers_may_do_nothing_but_serve(manifests: list[Manifest]) -> None:
    spec = pod(manifests)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


@EVERY_CASE
def test_what_is_written_has_a_place_with_a_bound(manifests: list[Manifest]) -> None:
    volumes = {volume["name"]: volume for volume in pod(manifests)["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in server(manifests)["volumeMounts"]}
    assert mounted["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert set(mounted["/tmp"]["emptyDir"]) == {"sizeLimit"}  # on disk: memory would count twice


@EVERY_CASE
def test_secrets_are_mounted_in_a_way_that_follows_their_renewal(manifests: list[Manifest]) -> None:
    assert all("subPath" not in mount for mount in server(manifests)["volumeMounts"])
    assert "env" not in server(manifests)


@pytest.mark.parametrize(("case", "gpus"), [("least", 1), ("cpu", None), ("everything", 2)])
def test_gpus(case: str, gpus: int | None) -> None:
    assert server(RENDERED[case])["resources"]["limits"].get("nvidia.com/gpu") == gpus


def test_image() -> None:
    assert server(RENDERED["least"])["image"] == "vico:0.1.0-gpu"
    assert server(RENDERED["cpu"])["image"] == "vico:0.1.0-cpu"
    assert server(RENDERED["everything"])["image"] == "example.org/vico:0.1.0-gpu@sha256:" + "0" * 64


@EVERY_CASE
def test_names_that_refer_to_each_other(manifests: list[Manifest]) -> None:
    deployment = one(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert one(manifests, "Service")["spec"]["selector"].items() <= labels
    assert one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert pod(manifests)["serviceAccountName"] == one(manifests, "ServiceAccount")["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in server(manifests)["ports"]}
    assert {port["targetPort"]: port["port"] for port in one(manifests, "Service")["spec"]["ports"]} == ports


def test_the_network_policy_opens_two_ports_and_nothing_else() -> None:
    policy = one(RENDERED["least"], "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    opened = [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]]
    assert opened == [["grpc"], ["metrics"]]
    assert all(rule["from"] for rule in policy["ingress"]), "no peers would mean everybody"
    egress = one(RENDERED["everything"], "NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for rule in egress for port in rule["ports"]] == [53, 53, 9000, 4318]


def test_only_an_operator_with_a_secret_may_write_to_the_registry() -> None:
    def registry(values: Values) -> bool:
        [mount] = [m for m in server(render(values))["volumeMounts"] if m["mountPath"] == "/registry"]
        return bool(mount["readOnly"])

    assert registry(LEAST)
    assert not registry(changed("secrets.admin", "vico-admin"))


def test_the_autoscaler_decides_alone() -> None:
    deployment, scaled = (one(RENDERED["everything"], kind) for kind in ("Deployment", "ScaledObject"))
    assert "replicas" not in deployment["spec"]
    assert one(render(CPU), "Deployment")["spec"]["replicas"] == 1
    assert scaled["spec"]["scaleTargetRef"] == {"name": deployment["metadata"]["name"]}
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metricType"] == "Value"
    assert trigger["metadata"]["threshold"] == str(EVERYTHING["autoscaling"]["queueSeconds"])
