"""The whole export: graphs, tokenizer, model repository, and the file that names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from export.built import bring_up_engine
from export.engines import Library
from export.graphs import Job, Maker
from export.keys import ExportOptions, graph_digest
from export.modules import build_module, geometry_of
from export.packing import pack_graphs, packed_digest
from export.preview import latent_to_rgb
from export.profiles import EngineLimits
from export.records import GraphResult
from export.repository import assemble_repository
from export.signatures import signatures
from export.store import GraphStore
from export.tokenizer import TOKENIZER_FILE, write_tokenizer
from vico.base import Base
from vico.concept import GraphSet, GraphSpec, read_graphset
from vico.concept.graphset import GraphName, TargetName, write_graphset
from vico.concept.preview import LatentToRGB
from vico.concept.processor import processor_key
from vico.errors import GraphSetError

GRAPHS = "graphs"
_SIZE_LIMIT = 2  # times the size that the base was trained at: beyond it, pictures repeat their subject

Announce = Callable[[GraphName, str], None]
"""Told what is being done with which graph."""


def export_base(
    base: Base,
    out: Path,
    options: ExportOptions,
    *,
    check: bool,
    announce: Announce,
    target: TargetName = "onnx",
    library: Library | None = None,
) -> tuple[GraphResult, ...]:
    """Bring the graph set at `out` up to date with `base`, for `target`; an engine's target needs the `library` for it.

    What is up to date stays untouched; `graphset.json` is written last, so that it names only what is there. Other
    targets of the same exported graphs stay in it.

    Raises:
        ExportError: a graph, the tokenizer or the model repository is not what serving needs; names which.
        OSError: the disk is full or not writable.
    """
    store, geometry = GraphStore(out / GRAPHS), geometry_of(base)
    exported: dict[GraphName, GraphSpec] = {}
    results: list[GraphResult] = []
    makers: dict[GraphName, Maker] = {}
    with store.lock():
        for name, signature in signatures(geometry).items():
            digest = graph_digest(base.digest, name, options)
            job = Job(build_module(base, name), signature, geometry, digest)
            maker = makers[name] = Maker(store, job, options, announce, check=check)
            if library is None:
                results.append(maker.bring_up(target))
            else:
                half = maker.bring_up("onnx-fp16")
                announce(name, f"building for {target}")
                results.append(bring_up_engine(store, library, half, signature, geometry, _limits(base)))
            exported[name] = GraphSpec(file=_relative(out, maker.export()), digest=digest)
        write_tokenizer(base.tokenizer, out / TOKENIZER_FILE)
        assemble_repository(out)
        made = {
            result.record.name: GraphSpec(file=_relative(out, result.model), digest=result.record.digest)
            for result in results
        }
        before = _before(out, exported)
        targets = dict(before.targets if before else {}) | {target: made}
        packed = _packed(before, targets)
        if target == "onnx":
            packed[processor_key()] = _pack(store, out, made, makers, announce)
        preview = (before.latent_to_rgb if before else None) or latent_to_rgb(base)
        write_graphset(out, _graphset(base, exported, targets, packed, preview))
    return tuple(results)


def _limits(base: Base) -> EngineLimits:
    return EngineLimits(sizes=(base.default_size, _SIZE_LIMIT * base.default_size))


def _relative(out: Path, file: Path) -> str:
    return file.relative_to(out).as_posix()


def _before(out: Path, exported: dict[GraphName, GraphSpec]) -> GraphSet | None:
    """What an earlier export made from the same exported graphs."""
    try:
        before = read_graphset(out)
    except GraphSetError:
        return None
    return before if dict(before.graphs) == exported else None


def _packed(
    before: GraphSet | None, targets: Mapping[TargetName, Mapping[GraphName, GraphSpec]]
) -> dict[str, Mapping[GraphName, GraphSpec]]:
    """What was packed before, on whichever machine, of the same forms."""
    same = before is not None and before.targets.get("onnx") == targets.get("onnx")
    return dict(before.packed) if before is not None and same else {}


def _pack(
    store: GraphStore,
    out: Path,
    forms: Mapping[GraphName, GraphSpec],
    makers: Mapping[GraphName, Maker],
    announce: Announce,
) -> Mapping[GraphName, GraphSpec]:
    """The CPU's forms packed for the processor of this machine."""
    digest = packed_digest(forms, processor_key())
    models = {name: out / spec.file for name, spec in forms.items()}
    files = pack_graphs(store, models, digest, announce, lambda name, model: makers[name].check_packed(model))
    return {name: GraphSpec(file=_relative(out, file), digest=digest) for name, file in files.items()}


def _graphset(
    base: Base,
    exported: dict[GraphName, GraphSpec],
    targets: dict[TargetName, Mapping[GraphName, GraphSpec]],
    packed: dict[str, Mapping[GraphName, GraphSpec]],
    preview: LatentToRGB,
) -> GraphSet:
    return GraphSet(
        base_digest=base.digest,
        base_name=base.name,
        tokenizer=base.tokenizer_spec,
        schedule=base.schedule,
        sites=base.site_specs,
        graphs=exported,
        targets=targets,
        packed=packed,
        context_width=base.context_width,
        vae_factor=base.vae_factor,
        size_multiple=base.size_multiple,
        default_size=base.default_size,
        max_size=_SIZE_LIMIT * base.default_size,
        latent_to_rgb=preview,
    )
