"""Which form of a graph a device runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import GraphError
from vico.concept import GraphSet
from vico.concept.graphset import GraphName, TargetName

# in order of preference
TARGETS: Mapping[str, tuple[TargetName, ...]] = {
    "cpu": ("onnx",),
    "cuda": ("onnx-fp16", "onnx-bf16"),
    "tensorrt": ("tensorrt",),
}


def graph_file(config: ServingConfig, graphset: GraphSet, name: GraphName) -> Path:
    """The file of one graph in the form that the configured device runs; never another form in its place.

    Raises:
        GraphError: the provider is unknown, the set was not exported for it, or the file is absent.
    """
    wanted = TARGETS.get(config.provider)
    if wanted is None:
        raise GraphError("provider", f"unknown provider {config.provider!r}", ", ".join(TARGETS))
    for target in wanted:
        spec = graphset.spec(name, target)
        if spec is not None and (config.graphs / spec.file).is_file():
            return config.graphs / spec.file
    raise GraphError("graphs", f"the graph {name!r} is absent", f"a folder made by `vico export --target {wanted[0]}`")
