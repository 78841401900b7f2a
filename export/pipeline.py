"""The whole export: graphs, tokenizer, model repository, and the file that names them all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from export.cases import cases
from export.check import Deviation, check_graph
from export.inputs import EXAMPLE_SIZES, random_feed
from export.keys import ExportOptions, graph_digest
from export.modules import build_module, geometry_of
from export.onnx_export import export_graph
from export.repository import assemble_repository
from export.signatures import Geometry, Signature, signatures
from export.store import MODEL_FILE, GraphStore
from export.tokenizer import TOKENIZER_FILE, write_tokenizer
from vico.base import Base
from vico.concept.atomic import write_atomically
from vico.concept.graphset import GraphName, GraphSet, GraphSpec, write_graphset

GRAPHS = "graphs"
_RECORD_FILE = "record.json"
_SIZE_LIMIT = 2  # times the size that the base was trained at: beyond it, pictures repeat their subject

Announce = Callable[[GraphName, str], None]
"""Told what is being done with which graph."""


@dataclass(frozen=True)
class GraphRecord:
    """What is known of one exported graph; kept beside it as `record.json`."""

    name: GraphName
    digest: str
    nodes: int
    attention_nodes: int
    size_bytes: int
    export_seconds: float
    max_error: float | None = None
    """Against torch; None until checked."""


@dataclass(frozen=True)
class GraphResult:
    """What an export did about one graph."""

    record: GraphRecord
    is_new: bool
    """False if an earlier export had made it already."""
    deviations: tuple[Deviation, ...] = ()
    """Empty if it was not checked this time."""


@dataclass(frozen=True)
class _Job:
    """One graph on its way."""

    module: nn.Module
    signature: Signature
    geometry: Geometry
    digest: str


def export_base(
    base: Base, out: Path, options: ExportOptions, *, check: bool, announce: Announce
) -> tuple[GraphResult, ...]:
    """Bring the graph set at `out` up to date with `base`.

    What is up to date stays untouched; `graphset.json` is written last, so that it names only what is there.

    Raises:
        ExportError: a graph, the tokenizer or the model repository is not what serving needs; names which.
        OSError: the disk is full or not writable.
    """
    store, geometry = GraphStore(out / GRAPHS), geometry_of(base)
    with store.lock():
        results = tuple(
            _bring_up_to_date(
                store,
                _Job(build_module(base, name), signature, geometry, graph_digest(base.digest, name, options)),
                options,
                check=check,
                announce=announce,
            )
            for name, signature in signatures(geometry).items()
        )
        write_tokenizer(base.tokenizer, out / TOKENIZER_FILE)
        assemble_repository(out)
        write_graphset(out, _graphset(base, [result.record for result in results]))
    return results


def _bring_up_to_date(
    store: GraphStore, job: _Job, options: ExportOptions, *, check: bool, announce: Announce
) -> GraphResult:
    name, folder = job.signature.name, store.folder(job.signature.name, job.digest)
    if not store.contains(name, job.digest):
        # checked before it gets its name: what is in the store is right
        with store.staging(name, job.digest) as staging:
            announce(name, "exporting")
            result = GraphResult(_export(job, staging, options), is_new=True)
            return _checked(result, job, staging, announce) if check else result
    result = GraphResult(_read_record(folder), is_new=False)
    return _checked(result, job, folder, announce) if check and result.record.max_error is None else result


def _export(job: _Job, folder: Path, options: ExportOptions) -> GraphRecord:
    start = time.perf_counter()
    example = random_feed(job.signature, job.geometry, EXAMPLE_SIZES)
    facts = export_graph(job.module, job.signature, tuple(example.values()), folder, options)
    record = GraphRecord(
        name=job.signature.name,
        digest=job.digest,
        nodes=facts.nodes,
        attention_nodes=facts.attention_nodes,
        size_bytes=sum(path.stat().st_size for path in folder.glob(f"{MODEL_FILE}*")),
        export_seconds=round(time.perf_counter() - start, 2),
    )
    _write_record(folder, record)
    return record


def _checked(result: GraphResult, job: _Job, folder: Path, announce: Announce) -> GraphResult:
    announce(job.signature.name, "checking")
    deviations = check_graph(folder, job.signature, cases(job.module, job.signature, job.geometry))
    record = replace(result.record, max_error=max(deviation.error for deviation in deviations))
    _write_record(folder, record)
    return replace(result, record=record, deviations=deviations)


def _read_record(folder: Path) -> GraphRecord:
    return GraphRecord(**json.loads((folder / _RECORD_FILE).read_text()))


def _write_record(folder: Path, record: GraphRecord) -> None:
    write_atomically(folder / _RECORD_FILE, json.dumps(asdict(record), indent=2).encode() + b"\n")


def _graphset(base: Base, records: list[GraphRecord]) -> GraphSet:
    return GraphSet(
        base_digest=base.digest,
        base_name=base.name,
        tokenizer=base.tokenizer_spec,
        schedule=base.schedule,
        sites=base.site_specs,
        graphs={
            record.name: GraphSpec(file=f"{GRAPHS}/{record.name}/{record.digest}/{MODEL_FILE}", digest=record.digest)
            for record in records
        },
        context_width=base.context_width,
        vae_factor=base.vae_factor,
        size_multiple=base.size_multiple,
        default_size=base.default_size,
        max_size=_SIZE_LIMIT * base.default_size,
    )
