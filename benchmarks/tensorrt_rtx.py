"""TensorRT for RTX without a device: `python -m benchmarks.tensorrt_rtx --graphs DIR --json FILE`.

DIR is a graph set made by `vico export --target onnx-fp16`. Prints size and build time of every engine: the proof that
TensorRT parses our graphs and has fused kernels for every attention. Needs `pip install tensorrt-rtx-cu12`; no torch.
"""

from __future__ import annotations

import argparse
import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import get_args

from export.engines import build_engine, engine_record
from export.profiles import EngineLimits, profiles_for
from export.signatures import Geometry, signatures
from export.tensorrt_rtx import TensorRTRtx
from vico.concept import GraphSet, read_graphset
from vico.concept.graphset import GraphName, TargetName

_TARGET: TargetName = "onnx-fp16"


def main() -> None:
    """Build and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=get_args(GraphName), help="one graph")
    parser.add_argument("--device", default="8.6", help="compute capability")
    parser.add_argument("--max-batch", type=int, default=8)
    arguments = parser.parse_args()
    graphset, library = read_graphset(arguments.graphs), TensorRTRtx((arguments.device,))
    geometry = _geometry(graphset)
    limits = EngineLimits(sizes=(graphset.default_size,), max_batch=arguments.max_batch)
    report = {}
    for name, signature in signatures(geometry).items():
        spec = graphset.spec(name, _TARGET)
        if spec is None or arguments.only not in (None, name):
            continue
        record = engine_record(library, name, spec.digest, profiles_for(signature, geometry, limits))
        built = build_engine(library, arguments.graphs / spec.file, replace(record))
        report[name] = {
            "engine_mib": round(len(built.content) / 2**20, 1),
            "parse_seconds": round(built.parse_seconds, 2),
            "build_seconds": round(built.build_seconds, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(f"{name:18} {report[name]}", flush=True)
    if arguments.json is not None:
        versions = {"version": record.version, "devices": record.devices, "base": graphset.base_name}
        arguments.json.write_text(json.dumps({**versions, "graphs": report}, indent=2) + "\n")


def _geometry(graphset: GraphSet) -> Geometry:
    """What the profiles need; the vocabulary is not among it."""
    return Geometry(
        sites=graphset.sites,
        prompt_tokens=graphset.tokenizer.max_length,
        context_width=graphset.context_width,
        vocabulary=0,
        vae_factor=graphset.vae_factor,
        unet_multiple=graphset.size_multiple // graphset.vae_factor,
        latent_channels=graphset.latent_channels,
        num_timesteps=graphset.schedule.num_train_timesteps,
    )


if __name__ == "__main__":
    main()
