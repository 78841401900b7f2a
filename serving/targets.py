"""Which form of a graph a device runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import GraphError
from vico.concept import GraphSet
from vico.concept.graphset import GraphName, TargetName
from vico.concept.processor import processor_key

# in order of preference
TARGETS: Mapping[str, tuple[TargetName, ...]] = {
    "cpu": ("onnx",),
    "cuda": ("onnx-fp16", "onnx-bf16"),
    "tensorrt": ("tensorrt",),
}


def packed_file(config: ServingConfig, graphset: GraphSet, name: GraphName) -> Path | None:
    """The file of one graph packed for this processor; None if the device is another, or it was not packed here."""
    spec = graphset.packed.get(processor_key(), {}).get(name) if config.provider == "cpu" else None
    file = None if spec is None else config.graphs / spec.file
    return file if file is not None and file.is_file() else None


def graph_file(config: ServingConfig, graphset: GraphSet, name: GraphName) -> Path:
    """The file of one graph in the form that the configured device runs; never another form in its place.

    On the CPU packed, if it was packed for this processor.

    Raises:
        GraphError: the provider is unknown, the set was not exported for it, or the file is absent.
    """
    wanted = TARGETS.get(config.provider)
    if wanted is None:
        raise GraphError("provider", f"unknown provider {config.provider!r}", ", ".join(TARGETS))
    if (packed := packed_file(config, graphset, name)) is not None:
        return packed
    for target in wanted:
        spec = graphset.spec(name, target)
        if spec is not None and (config.graphs / spec.file).is_file():
            return config.graphs / spec.file
    raise GraphError("graphs", f"the graph {name!r} is absent", f"a folder made by `vico export --target {wanted[0]}`")
