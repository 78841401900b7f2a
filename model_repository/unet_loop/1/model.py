"""Triton model `unet_loop`: see `serving.stages.unet_loop`."""

import triton_python_backend_utils as pb_utils

from serving.deferred_adapter import DeferredAdapter
from serving.stages.unet_loop import open_unet_loop


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the stage; called once in the serving process."""
        self._adapter = DeferredAdapter.open_deferred(pb_utils, open_unet_loop)

    def execute(self, requests: list) -> None:
        """Begin every request; its response is sent when its pictures are done."""
        self._adapter.begin(requests)

    def finalize(self) -> None:
        """Finish what is under way."""
        self._adapter.close()
