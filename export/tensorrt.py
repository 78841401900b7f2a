"""TensorRT: engines built on the GPU that runs them. Not run on a GPU yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import TargetError
from vico.concept.atomic import write_atomically
from vico.concept.engine import Builder

_INSTEAD = "onnx, onnx-fp16 (built anywhere, run on a GPU), tensorrt-rtx (built without a GPU)"


class TensorRT:
    """`tensorrt`, for the first GPU of this machine.

    Args:
        timing_cache: a file; kernels timed in earlier builds on this device are not timed again.
        version_compatible: runs on later versions of the same major one, somewhat slower.

    Raises:
        TargetError: there is no GPU here, or no TensorRT.
    """

    builder: Builder = "tensorrt"

    def __init__(self, timing_cache: Path, version_compatible: bool = False) -> None:
        capability = gpu_capability()
        if capability is None:
            raise TargetError(
                "target", "TensorRT builds its engines on the GPU that runs them, and here is none", _INSTEAD
            )
        try:
            import tensorrt
        except ImportError:
            raise TargetError("target", "the library tensorrt is not installed", _INSTEAD) from None
        self.trt: Any = tensorrt
        self.devices: tuple[str, ...] = (capability,)
        self.version_compatible = version_compatible
        self._timing_cache = timing_cache

    def configure(self, config: Any) -> None:
        """See `Library`."""
        if self.version_compatible:
            config.set_flag(self.trt.BuilderFlag.VERSION_COMPATIBLE)
        content = self._timing_cache.read_bytes() if self._timing_cache.is_file() else b""
        # a cache of another version or device is refused by the library: then it starts empty
        if not config.set_timing_cache(config.create_timing_cache(content), ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def finish(self, config: Any) -> None:
        """Keep the timing cache."""
        write_atomically(self._timing_cache, bytes(config.get_timing_cache().serialize()))


def gpu_capability() -> str | None:
    """Compute capability of the first GPU, like `8.6`; None without one."""
    import torch  # heavy: only for this target

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability(0)
    return f"{major}.{minor}"
