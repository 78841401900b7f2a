"""Triton model `picture_stream`: see `serving.stages.picture_stream`."""

import triton_python_backend_utils as pb_utils

from serving.stages.picture_stream import open_picture_stream
from serving.stream_adapter import StreamAdapter


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the stage; called once in the serving process."""
        self._adapter = StreamAdapter.open(pb_utils, open_picture_stream)

    def execute(self, requests: list) -> None:
        """Begin every request; its responses are sent as they come."""
        self._adapter.begin(requests)

    def finalize(self) -> None:
        """Finish what is under way."""
        self._adapter.close()
