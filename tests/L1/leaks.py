"""What no message to a client may show: paths, libraries, and names from inside the server."""

from __future__ import annotations

import re

from serving.stages.names import DECODER, EARLIER, STREAMS

LEAKS = re.compile(
    r"/[a-z]+/|Traceback|\.py|\.safetensors|0x[0-9a-f]{6}|numpy|onnx|[Ss]tub|shm|"
    + "|".join((*EARLIER, DECODER, STREAMS))
)
