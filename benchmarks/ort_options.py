"""Session options of ONNX Runtime's CPU by memory and time: `python -m benchmarks.ort_options [--graph model.onnx]`.

Without a graph: one of matrix products and 3×3 convolutions in a U-Net's proportions, 190 MB of weights in a file of
their own. Every option set runs in a process of its own; anonymous memory beyond the run's activations is a second copy
of weights, file-backed memory the mapped file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

OPTIONS: dict[str, dict[str, Any]] = {
    "packed, as served": {"packed": True},
    "as served where it is not packed": {},
    "spinning": {"session.intra_op.allow_spinning": "1"},
    "no prepacking": {"session.disable_prepacking": "1"},
    "device allocator for initializers": {"session.use_device_allocator_for_initializers": "1"},
    "no arena": {"arena": False},
    "with memory pattern": {"pattern": True},
    "extended (no NCHWc)": {"level": "ORT_ENABLE_EXTENDED"},
    "basic": {"level": "ORT_ENABLE_BASIC"},
}


def main() -> None:
    """Print one line per option set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe is not None:
        print(json.dumps(_probe(arguments.graph, json.loads(arguments.probe))))
        return
    with tempfile.TemporaryDirectory() as folder:
        graph = arguments.graph or _synthetic(Path(folder) / "model.onnx")
        weights = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*")) / 2**20
        columns = (
            f"{'options':36} {'load s':>7} {'anon MiB':>9} {'file MiB':>9} {'peak MiB':>9} {'first s':>8} {'run s':>8}"
        )
        print(f"weights {weights:.0f} MiB\n{columns}")
        for name, options in OPTIONS.items():
            file = _packed(graph, Path(folder)) if "packed" in options else graph
            own = ["--graph", str(file), "--probe", json.dumps(options)]
            command = [sys.executable, "-m", "benchmarks.ort_options", *own]
            found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            memory = " ".join(f"{found[key]:9.0f}" for key in ("anon", "file", "peak"))
            print(f"{name:36} {found['load']:7.2f} {memory} {found['first']:8.3f} {found['run']:8.3f}", flush=True)


def _probe(graph: Path, changes: dict[str, Any]) -> dict[str, float]:
    """Memory after three runs, over what the process took before the session, in MiB; CPU seconds of load and run."""
    import onnxruntime as ort

    from serving.runners.onnx_cpu import cpu_options

    options = cpu_options(1, packed="packed" in changes)
    for key, value in changes.items():
        match key:
            case "packed":
                pass
            case "arena":
                options.enable_cpu_mem_arena = value
            case "pattern":
                options.enable_mem_pattern = value
            case "level":
                options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, value)
            case _:
                options.add_session_config_entry(key, value)
    before, start = _memory(), time.process_time()
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    load = time.process_time() - start
    feeds = {value.name: _random(value) for value in session.get_inputs()}
    start = time.process_time()
    session.run(None, feeds)
    first, start = time.process_time() - start, time.process_time()
    for _ in range(3):
        session.run(None, feeds)
    after = _memory()
    used = {
        key: after[field] - before[field]
        for key, field in (("anon", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM"))
    }
    return {"load": load, "first": first, "run": (time.process_time() - start) / 3, **used}


def _packed(graph: Path, folder: Path) -> Path:
    from export.packing import pack_graphs
    from export.store import GraphStore

    store = GraphStore(folder / "store")
    with store.lock():
        made = pack_graphs(store, {"denoiser": graph}, "packed", lambda *_: None, lambda *_: None)
    return made["denoiser"]


def _memory() -> dict[str, float]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) / 1024 for fields in lines if fields[-1:] == ["kB"]}


def _random(value: Any) -> npt.NDArray[Any]:
    shape = [size if isinstance(size, int) else 8 for size in value.shape]
    if value.type == "tensor(int64)":
        return np.zeros(shape, np.int64)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _synthetic(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights, image, tokens = [], [], "image", "tokens"
    for k in range(10):
        weights.append(numpy_helper.from_array(random.standard_normal((512, 512, 3, 3), np.float32) / 70, f"conv{k}"))
        nodes.append(helper.make_node("Conv", [image, f"conv{k}"], [f"image{k}"], pads=[1, 1, 1, 1]))
        weights.append(numpy_helper.from_array(random.standard_normal((1536, 1536), np.float32) / 40, f"linear{k}"))
        nodes.append(helper.make_node("MatMul", [tokens, f"linear{k}"], [f"tokens{k}"]))
        image, tokens = f"image{k}", f"tokens{k}"
    made = {"image": [1, 512, 16, 16], "tokens": [1, 77, 1536]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in made.items()]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, made[m]) for n, m in ((image, "image"), (tokens, "tokens"))
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    return path


if __name__ == "__main__":
    main()
