"""A stage's end of its safety checker. What the checker did not see in time, and allow, is not shown."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from serving.config import VARIABLE
from serving.errors import LaunchError
from serving.outputs.config import CheckerConfig
from serving.outputs.encoding import Pixels
from serving.outputs.frames import receive_frame, send_frame
from serving.outputs.verdict import Unchecked, Verdict

logger = logging.getLogger("vico.serving")

_LONGEST_ANSWER = 2**16
_MODULE = "serving.outputs.checker_process"


class SafetyChecker:
    """One process, started anew when it died or was ended for taking too long. Use from any thread.

    Args:
        config: which checker, and for how long it is waited for.

    Raises:
        LaunchError: it cannot be loaded.
    """

    def __init__(self, config: CheckerConfig) -> None:
        self._config = config
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except (OSError, ValueError) as error:
            self._end()
            raise LaunchError(
                "safety_checker", f"it cannot be loaded ({error})", "module:function that can be imported"
            ) from None

    def judge(self, pictures: Sequence[Pixels], facts: Mapping[str, object]) -> list[Verdict]:
        """A verdict for every picture, all of them [H, W, 3] of one size.

        Raises:
            Unchecked: the checker failed, died, said something else, or took too long.
        """
        with self._lock:
            try:
                if self._process is None or self._process.poll() is not None:
                    self._end()
                    self._start()
                return self._ask(np.stack(pictures), facts)
            except _Failed as error:
                logger.error("the safety checker: %s", error)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.error("the safety checker is ended: %s", error)
                self._end()
        raise Unchecked

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._end()

    def _ask(self, pictures: Pixels, facts: Mapping[str, object]) -> list[Verdict]:
        until = time.monotonic() + self._config.seconds
        head = json.dumps({"shape": pictures.shape, "facts": facts})
        send_frame(self._socket, head.encode(), until)
        send_frame(self._socket, pictures.tobytes(), until)
        answer = json.loads(receive_frame(self._socket, _LONGEST_ANSWER, until))
        if "failed" in answer:
            raise _Failed(answer["failed"])
        verdicts = [Verdict(verdict) for verdict in answer["verdicts"]]
        if len(verdicts) != len(pictures):
            raise _Failed(f"{len(verdicts)} verdicts for {len(pictures)} pictures")
        return verdicts

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [self._config.python, "-P", "-m", _MODULE, self._config.target],
                # what it prints goes into the log
                stdin=theirs.fileno(), stdout=2, env=self._environment(),
            )  # fmt: skip
        said = json.loads(receive_frame(self._socket, _LONGEST_ANSWER, time.monotonic() + self._config.start_seconds))
        if said:
            raise ValueError(said["failed"])

    def _environment(self) -> dict[str, str]:
        """Ours without the server's secrets."""
        paths = [str(Path(__file__).parents[2]), self._config.python_path]
        kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
        return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.close()


class _Failed(Exception):  # noqa: N818 - reads as what it is at every raise
    """The checker raised, or said something odd; it goes on."""
