"""Triton model `vae_decoder`: see `serving.stages.vae_decoder`."""

import triton_python_backend_utils as pb_utils

from serving.stages.vae_decoder import open_vae_decoder
from serving.triton_adapter import TritonAdapter


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the stage; called once in the serving process."""
        self._adapter = TritonAdapter.open(pb_utils, open_vae_decoder)

    def execute(self, requests: list) -> list:
        """One response for every request, in order."""
        return self._adapter.execute(requests)
