"""The server's log: passed on, and read for the reason when it fails."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO

from serving.telemetry.config import LogFormat

logger = logging.getLogger("vico.triton")

_KEPT_LINES = 400
# said by every server without a GPU
_HARMLESS = ("CUDA", "CudaDriver", "NVML", "DCGM", "pinned system memory", "Signal (15) received")
_LEVELS = {"E": logging.ERROR, "F": logging.CRITICAL, "W": logging.WARNING}
"""By the first letter of Triton's lines."""
_FAILED_MODEL = re.compile(r"failed to load '(\w+)' version \d+: (?:\w+: )?(?:TritonModelException: )?([^\n]*)")


class TritonLog:
    """Reads the server's output in a thread and writes it to standard error.

    Args:
        stream: the server's output.
        verbose: pass on everything, also what is said on every machine without a GPU.
        log_format: `json` = Triton's own lines become objects as those of our stages are.
    """

    def __init__(self, stream: IO[str], verbose: bool, log_format: LogFormat = "text") -> None:
        self._stream = stream
        self._verbose = verbose
        self._log_format = log_format
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last lines; the server must have ended."""
        self._thread.join(timeout=2)

    def reason(self) -> str:
        """What the log says went wrong."""
        self.close()
        failed = _FAILED_MODEL.search("".join(self._lines))
        if failed:
            return f"model {failed[1]!r}: {failed[2]}"
        own = [line for line in self._lines if not line.startswith("{")]
        errors = [line.strip() for line in own if line.startswith("E") or "error" in line]
        return errors[-1] if errors else "no reason in its log"

    def _forward(self) -> None:
        for line in self._stream:
            self._lines.append(line)
            if self._verbose or not any(word in line for word in _HARMLESS):
                self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        if self._log_format == "json" and not line.startswith("{"):
            if text := line.strip():
                logger.log(_LEVELS.get(line[0], logging.INFO), "%s", text)
            return
        # whoever cannot be told, as a full disk or a pipe without a reader, must not keep the server from writing
        with suppress(OSError, ValueError):
            sys.stderr.write(line)
            sys.stderr.flush()
