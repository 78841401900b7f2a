"""What `export/targets/group_norm.py` saves of a run: every graph with and without it, side by side.

`python -m benchmarks.group_norm --base assets/toy-base --graphs runs/toy-graphs [--rounds N]`, of a folder made by
`vico export`. Both forms take turns; medians of milliseconds, and of the ratio turn by turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import onnx_ir as ir
import onnxruntime
import typer
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from export.inputs import random_feed
from export.modules import geometry_of
from export.packing import pack_graphs
from export.signatures import Signature, signatures
from export.store import GraphStore
from export.targets.flash_attention import use_multi_head_attention
from export.targets.group_norm import use_instance_norm
from export.targets.late_gathers import gather_late
from export.targets.static_shapes import use_static_shapes
from serving.runners.onnx_cpu import cpu_options
from serving.runners.runner import Feeds
from vico.base import load_base
from vico.concept import read_graphset
from vico.concept.graphset import GraphName

ROWS: tuple[tuple[GraphName, int], ...] = (
    ("denoiser", 2), ("denoiser", 16), ("reference_encoder", 8), ("vae_decoder", 1),
)  # fmt: skip


def main(
    base: Annotated[Path, typer.Option(help="The base that was exported.")],
    graphs: Annotated[Path, typer.Option(help="Where it was exported to.")],
    rounds: Annotated[int, typer.Option(min=1)] = 25,
    threads: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Print one line per graph and number of rows."""
    graphset = read_graphset(graphs)
    geometry, side = geometry_of(load_base(base)), graphset.default_size // graphset.vae_factor
    print(f"{'graph':18} {'rows':>4}   spelt out   rewritten   ratio")
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in ROWS:
            signature = signatures(geometry)[name]
            sizes = {"batch": rows, "slots": 4, "vectors": 4} | _sides(signature, side)
            feed = {key: value.numpy() for key, value in random_feed(signature, geometry, sizes).items()}
            sessions = [
                _open(name, graphs / graphset.graphs[name].file, Path(place), threads, rewritten=rewritten)
                for rewritten in (False, True)
                for place in [tempfile.mkdtemp(dir=folder)]
            ]
            before, after, ratio = _compare(sessions, feed, rounds)
            print(f"{name:18} {rows:4}   {before:9.2f}   {after:9.2f}   {ratio:5.2f}", flush=True)


def _sides(signature: Signature, side: int) -> dict[str, int]:
    """Height and width in the signature's own multiples, for latents of `side`."""
    found = {
        axis.name: axis.multiple for value in signature.inputs for axis in value.shape if not isinstance(axis, int)
    }
    return {name: side // found.get(name, 1) for name in ("height", "width")}


def _open(
    name: GraphName, source: Path, folder: Path, threads: int, *, rewritten: bool
) -> onnxruntime.InferenceSession:
    """An exported graph as the CPU is served it, packed, with the norms as they were or rewritten."""
    content = ir.load(source)
    use_static_shapes(content)
    use_multi_head_attention(content)
    if rewritten:
        use_instance_norm(content)
    gather_late(content)
    RemoveUnusedNodesPass()(content)
    NameFixPass()(content)
    ir.save(content, folder / "model.onnx", external_data="model.onnx.data")
    store = GraphStore(folder / "store")
    with store.lock():
        packed = pack_graphs(store, {name: folder / "model.onnx"}, "packed", lambda *_: None, lambda *_: None)
    options = cpu_options(threads, packed=True)
    return onnxruntime.InferenceSession(str(packed[name]), options, providers=["CPUExecutionProvider"])


def _compare(sessions: list[onnxruntime.InferenceSession], feed: Feeds, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of the first and the second, and the second's share of the first."""
    for session in sessions:
        session.run(None, feed)
    taken = np.array([list(_turn(sessions, feed, reverse=bool(turn % 2))) for turn in range(rounds)])
    before, after = (1e3 * median(taken[:, side]) for side in (0, 1))
    return before, after, median(taken[:, 1] / taken[:, 0])


def _turn(sessions: list[onnxruntime.InferenceSession], feed: Feeds, *, reverse: bool) -> Iterator[float]:
    """Seconds of one run of each; the one that goes first changes."""
    seconds = [0.0] * len(sessions)
    for k in sorted(range(len(sessions)), reverse=reverse):
        begin = time.perf_counter()
        sessions[k].run(None, feed)
        seconds[k] = time.perf_counter() - begin
    yield from seconds


if __name__ == "__main__":
    typer.run(main)
