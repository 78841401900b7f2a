"""Triton model `text_encoder`: see `serving.stages.text_encoder`."""

import triton_python_backend_utils as pb_utils

from serving.stages.text_encoder import open_text_encoder
from serving.triton_adapter import TritonAdapter


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the stage; called once in the serving process."""
        self._adapter = TritonAdapter.open(pb_utils, open_text_encoder)

    def execute(self, requests: list) -> list:
        """One response for every request, in order."""
        return self._adapter.execute(requests)
