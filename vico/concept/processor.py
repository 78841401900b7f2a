"""What a graph that was optimised ahead of time depends on: the runtime's version, and what the processor can do."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
# by which ONNX Runtime's kernels, and so its layouts of packed weights, are chosen
_FEATURES = (
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme", "sme2",
)  # fmt: skip


@cache
def processor_key() -> str:
    """Like `onnxruntime-1.32.0-x86_64-avx-avx2-f16c-fma`: weights packed under it are read where it is the same."""
    found = sorted(set(_FEATURES) & _flags())
    return "-".join((f"onnxruntime-{_runtime()}", platform.machine(), *found))


def _runtime() -> str:
    for distribution in _DISTRIBUTIONS:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "none"


def _flags() -> set[str]:
    """Of the first processor; none where the system does not tell."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    named = (line.split(":", 1)[1] for line in lines if line.lower().startswith(("flags", "features")) and ":" in line)
    return set(next(named, "").split())
