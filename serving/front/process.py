"""The front door as the supervisor holds it: a process that is told things in lines."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

from serving.errors import LaunchError
from serving.front.config import FrontConfig
from serving.processes import state_of
from serving.telemetry.folder import environment

_SECONDS = 30.0
"""For an answer in a line."""
_SIGN_SECONDS = 10.0
"""For a sign of life, on a machine that is busy."""


class FrontProcess:
    """A running front door.

    Args:
        config: `port` 0 = any free one.

    Raises:
        LaunchError: it cannot listen, or keys or certificates are unfit.
    """

    def __init__(self, config: FrontConfig) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.front"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | _metrics(config),
            # Ctrl-C reaches the supervisor alone
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()
        try:
            self._say(config.to_json())
            self.config = replace(config, port=_port(self._hear()))
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"{self.config.host}:{self.config.port}"

    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None or state_of(self.pid) == "Z"

    def answers(self) -> bool:
        """Whether its event loop goes round."""
        return self._say(json.dumps({"sign": True})) and self._hear(_SIGN_SECONDS) == "here"

    def serve(self) -> bool:
        """Let calls in; whether it could reach Triton."""
        return self._say(json.dumps({"serving": True})) and self._hear() == "serving"

    def refuse(self, drop: bool, drop_streams: bool = False) -> None:
        """Refuse calls, in a way that can be retried; `drop` those under way, or the streams among them."""
        self._say(json.dumps({"serving": False, "drop": drop, "drop_streams": drop_streams}))

    def drain(self, grace_seconds: float) -> None:
        """Refuse calls, wait for those under way, end."""
        self._say(json.dumps({"drain": grace_seconds}))
        try:
            self._process.wait(grace_seconds + 10.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """At once."""
        self._process.kill()
        self._process.wait()

    def _say(self, line: str) -> bool:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _hear(self, seconds: float = _SECONDS) -> str:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return ""


def _metrics(config: FrontConfig) -> dict[str, str]:
    return environment(Path(config.metrics_folder)) if config.metrics_folder else {}


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line.strip())
    lines.put("")


def _port(line: str) -> int:
    word, _, rest = line.partition(" ")
    if word == "listening":
        return int(rest)
    if word == "refused":
        raise LaunchError(*json.loads(rest))
    raise LaunchError("front", "the front door did not start", "a look at the log")
