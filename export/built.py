"""Engines in the graph store: built from the float16 graphs, kept by what they were made from."""

from __future__ import annotations

import time
from pathlib import Path

from export.engines import Library, build_engine, engine_record
from export.profiles import EngineLimits, profiles_for
from export.records import GraphRecord, GraphResult
from export.signatures import Geometry, Signature
from export.store import GraphStore
from vico.concept.engine import write_engine_record
from vico.concept.graphset import TargetName

ENGINE_FILE = "model.engine"


def bring_up_engine(
    store: GraphStore,
    library: Library,
    half: GraphResult,
    signature: Signature,
    geometry: Geometry,
    limits: EngineLimits,
) -> GraphResult:
    """The engine of the float16 graph `half`; built if it is not there.

    Its digest covers the graph, the builder's version, the devices and the profiles: it is found again by these and by
    nothing else.

    Raises:
        TargetError: the library does not build it.
    """
    profiles = profiles_for(signature, geometry, limits)
    wanted = engine_record(library, signature.name, half.record.digest, profiles)
    target: TargetName = library.builder
    file = store.folder(signature.name, wanted.digest) / ENGINE_FILE
    if file.is_file():
        return GraphResult(_record(half, target, wanted.digest, file, 0.0), file, is_new=False)
    start = time.perf_counter()
    with store.staging(signature.name, wanted.digest) as folder:
        built = build_engine(library, half.model, wanted)
        (folder / ENGINE_FILE).write_bytes(built.content)
        write_engine_record(folder / ENGINE_FILE, built.record)
    return GraphResult(_record(half, target, wanted.digest, file, time.perf_counter() - start), file, is_new=True)


def _record(half: GraphResult, target: TargetName, digest: str, file: Path, seconds: float) -> GraphRecord:
    return GraphRecord(
        name=half.record.name,
        digest=digest,
        nodes=half.record.nodes,
        attention_nodes=half.record.attention_nodes,
        size_bytes=file.stat().st_size,
        export_seconds=round(seconds, 2),
        target=target,
    )
