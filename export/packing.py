"""Graphs optimised for this machine's processor, their weights packed as its kernels read them, in one mapped file.

ONNX Runtime optimises a graph and packs its weights whenever it opens one: at the size of Stable Diffusion that is tens
of seconds, and every session has a copy of its own. Done ahead of time, opening is quick and the weights are pages of
one file: what two graphs have in common (the U-Net of `denoiser` and `reference_encoder`) is in it, and in memory,
once.
It holds for one version of the runtime and one kind of processor (`vico.concept.processor`).
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import onnxruntime

from export.errors import GraphError
from export.store import GraphStore
from vico.concept.graphset import GraphName, GraphSpec

WEIGHTS_FILE = "weights.bin"
_LEAST_BYTES = 1024
"""Smaller weights stay in the graph."""
_PAGE, _LINE = 4096, 64
_VERSION = 1
"""Of what is written here."""


def packed_digest(models: Mapping[GraphName, GraphSpec], key: str) -> str:
    """SHA-256 over the graphs that are packed, the runtime and the processor, 64 hex digits."""
    made_from = {"version": _VERSION, "key": key, "graphs": {name: spec.digest for name, spec in models.items()}}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def pack_graphs(
    store: GraphStore,
    models: Mapping[GraphName, Path],
    digest: str,
    announce: Callable[[GraphName, str], None],
    check: Callable[[GraphName, Path], None],
) -> Mapping[GraphName, Path]:
    """Pack the CPU forms `models` into one folder of the store; what is there already stays.

    Each packed graph goes through `check` before it gets its name.

    Raises:
        GraphError: ONNX Runtime wrote a graph in another form than this understands.
        ParityError: of `check`.
        OSError: the disk is full or not writable.
    """
    folder = store.packed(digest)
    if not folder.is_dir():
        with store.staging_packed(digest) as staging, (staging / WEIGHTS_FILE).open("xb") as file:
            weights = _Weights(file)
            for name, model in models.items():
                announce(name, "packing")
                _pack(name, model, staging, weights)
                file.flush()
                check(name, staging / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in models}


def _pack(name: GraphName, model: Path, staging: Path, weights: _Weights) -> None:
    made, own = staging / f"{name}.onnx", staging / f"{name}.own"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # that it is written for this machine only is what is wanted
    options.optimized_model_filepath = str(made)
    for entry, value in {
        "session.optimized_model_external_initializers_file_name": own.name,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(_LEAST_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(entry, value)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    content = onnx.load(made, load_external_data=False)
    if own.is_file():
        with own.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for tensor in content.graph.initializer:
                _move(name, tensor, data, weights)
        own.unlink()
    made.write_bytes(content.SerializeToString())


def _move(graph: str, tensor: Any, data: mmap.mmap, weights: _Weights) -> None:
    """Have one weight, and its packed forms, point into the common file."""
    entries = {entry.key: entry for entry in tensor.external_data}
    if not entries:
        return
    length = int(entries["length"].value)
    entries["offset"].value = str(weights.add(data, int(entries["offset"].value), length))
    entries["location"].value = WEIGHTS_FILE
    for key, entry in entries.items():
        if key.startswith("prepacked_"):
            entry.value = _moved_packing(graph, entry.value, data, weights)
        elif key not in ("location", "offset", "length"):
            raise GraphError(graph, f"a weight has the entry {key!r}", "location, offset, length, prepacked")


def _moved_packing(graph: str, value: str, data: mmap.mmap, weights: _Weights) -> str:
    """`kernel|offset;length;checksum|…`, as ONNX Runtime writes it."""
    kernel, *blobs = value.split("|")
    moved = [kernel]
    for blob in blobs:
        match blob.split(";"):
            case [offset, length, *rest]:
                place = weights.add(data, int(offset), int(length))
                moved.append(";".join([str(place), length, *rest]))
            case [""]:
                moved.append("")
            case _:
                raise GraphError(graph, f"a packed weight lies at {blob!r}", "offset;length;checksum")
    return "|".join(moved)


@dataclass
class _Weights:
    """The common file, open for writing; equal bytes are written once."""

    file: BinaryIO
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, data: mmap.mmap, offset: int, length: int) -> int:
        """Where these bytes lie in the common file."""
        with memoryview(data)[offset : offset + length] as content:
            digest = hashlib.blake2b(content).digest()
            if digest not in self.known:
                # each large one on pages of its own: they are mapped one by one
                alignment = _PAGE if length >= _PAGE else _LINE
                self.file.write(bytes(-self.file.tell() % alignment))
                self.known[digest] = self.file.tell()
                self.file.write(content)
        return self.known[digest]
