"""TensorRT for RTX: engines for GeForce and RTX cards, built ahead of time, without a device."""

from __future__ import annotations

from typing import Any

from export.errors import TargetError
from vico.concept.engine import Builder

CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
DEFAULT_CAPABILITIES = ("8.6", "8.9", "12.0")


class TensorRTRtx:
    """`tensorrt_rtx`, for the compute capabilities `devices`.

    Raises:
        TargetError: the library is not installed, or does not build for one of `devices`.
    """

    builder: Builder = "tensorrt-rtx"
    version_compatible = False

    def __init__(self, devices: tuple[str, ...] = DEFAULT_CAPABILITIES) -> None:
        wrong = [device for device in devices if device not in CAPABILITIES]
        if wrong or not devices:
            raise TargetError("devices", f"no engines for {wrong or 'no device'}", ", ".join(CAPABILITIES))
        try:
            import tensorrt_rtx
        except ImportError:
            raise TargetError(
                "target", "tensorrt-rtx needs its library", "pip install tensorrt-rtx-cu12, or --target onnx-fp16"
            ) from None
        self.trt: Any = tensorrt_rtx
        self.devices = devices

    def configure(self, config: Any) -> None:
        """See `Library`."""
        config.num_compute_capabilities = len(self.devices)
        for index, device in enumerate(self.devices):
            capability = getattr(self.trt.ComputeCapability, f"SM{device.replace('.', '')}")
            config.set_compute_capability(capability, index)

    def finish(self, config: Any) -> None:
        """See `Library`."""
