"""float16 graph → engine, with TensorRT or TensorRT for RTX: one way of building, two libraries.

Source: NVIDIA's Python API of both (`IBuilderConfig`); TensorRT for RTX builds ahead of time without a device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from export.errors import TargetError
from export.profiles import Profile
from vico.concept.engine import Builder, EngineRecord
from vico.concept.graphset import GraphName


class Library(Protocol):
    """What the two libraries do differently."""

    trt: Any
    """The library's module."""
    devices: tuple[str, ...]
    """Compute capabilities, like `8.6`."""
    version_compatible: bool

    @property
    def builder(self) -> Builder:
        """Which of the two."""

    def configure(self, config: Any) -> None:
        """Set the devices and options of a build."""

    def finish(self, config: Any) -> None:
        """Keep what a build has learnt."""


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in memory, and what it took."""

    record: EngineRecord
    content: bytes
    parse_seconds: float
    build_seconds: float


def engine_record(library: Library, name: GraphName, graph_digest: str, profiles: Sequence[Profile]) -> EngineRecord:
    """What an engine would be: its digest tells whether it is there already."""
    return EngineRecord(
        graph_name=name,
        graph_digest=graph_digest,
        builder=library.builder,
        version=str(library.trt.__version__),
        devices=library.devices,
        profiles=tuple(profiles),
        version_compatible=library.version_compatible,
    )


def build_engine(library: Library, model: Path, record: EngineRecord) -> BuiltEngine:
    """Parse the float16 graph `model` and build what `record` says.

    Raises:
        TargetError: the library does not parse the graph, or cannot build it.
    """
    trt = library.trt
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    # weights keep the types that the graph gives them
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    start = time.perf_counter()
    if not parser.parse_from_file(str(model)):
        problem = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise TargetError(record.graph_name, f"{library.builder} does not parse it ({problem})", "another --target")
    parsed = time.perf_counter()
    config = builder.create_builder_config()
    library.configure(config)
    for profile in record.profiles:
        config.add_optimization_profile(_profile(builder, network, profile))
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise TargetError(record.graph_name, f"{library.builder} cannot build it", "another --target")
    library.finish(config)
    return BuiltEngine(record, bytes(content), parsed - start, time.perf_counter() - parsed)


def _profile(builder: Any, network: Any, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    # an input that the graph does not read is none of the network's
    present = {network.get_input(index).name for index in range(network.num_inputs)}
    for name, shapes in profile.items():
        if name in present:
            made.set_shape(name, *shapes)
    return made
