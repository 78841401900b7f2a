"""Where the denoiser's time goes: ONNX Runtime's own profile of one step, by kind of node."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime as ort

from benchmarks.denoiser.feeds import bank_feeds, step_feeds
from benchmarks.denoiser.prepared import Prepared
from benchmarks.denoiser.settings import Settings
from export.signatures import signatures
from serving.runners.onnx_cpu import cpu_options
from vico.concept import read_graphset

_TOP_NODES = 12


def profile_denoiser(settings: Settings, prepared: Prepared) -> dict[str, Any]:
    """Seconds and share by operator, and the dearest nodes with the shapes they worked on, of one step of one row."""
    graphset = read_graphset(prepared.graphset)
    signature = signatures(prepared.geometry)["denoiser"]
    feeds = step_feeds(signature, prepared, 1, settings.latent) | bank_feeds(signature, prepared, 1)
    with TemporaryDirectory() as folder:
        options = cpu_options(settings.threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        spec = graphset.spec("denoiser", "onnx") or graphset.graphs["denoiser"]
        path = prepared.graphset / spec.file
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, feeds)
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    return summarise(events)


def summarise(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The second of two runs: every node is there twice, and its first run allocates."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            runs[event["name"]].append(event)
    last = [found[-1] for found in runs.values()]
    total = sum(event["dur"] for event in last) or 1
    by_operator: dict[str, float] = defaultdict(float)
    for event in last:
        by_operator[event["args"]["op_name"]] += event["dur"]
    ranked = sorted(by_operator.items(), key=lambda item: -item[1])
    dearest = sorted(last, key=lambda event: -event["dur"])[:_TOP_NODES]
    return {
        "seconds": total / 1e6,
        "operators": [{"operator": name, "seconds": us / 1e6, "share": us / total} for name, us in ranked],
        "nodes": [
            {
                "operator": event["args"]["op_name"],
                "shapes": [list(*shape.values()) for shape in event["args"].get("input_type_shape", [])][:3],
                "share": event["dur"] / total,
            }
            for event in dearest
        ],
    }
