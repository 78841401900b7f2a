"""Triton model `unet_loop`: see `serving.stages.unet_loop`."""

import triton_python_backend_utils as pb_utils

from serving.stages.unet_loop import open_unet_loop
from serving.triton_adapter import TritonAdapter


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the stage; called once in the serving process."""
        self._adapter = TritonAdapter.open(pb_utils, open_unet_loop)

    def execute(self, requests: list) -> list:
        """One response for every request, in order."""
        return self._adapter.execute(requests)
