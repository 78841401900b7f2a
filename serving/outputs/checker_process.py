"""The process of a safety checker: whatever it imports, leaks or breaks stays here.

    python -m serving.outputs.checker_process module:function

Its standard input is the socket to the stage. Ends when that is closed.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.outputs.frames import receive_frame, send_frame
from serving.telemetry.redaction import traceback_without

logger = logging.getLogger("vico.safety")

GROUP = "vico.safety_checkers"
LONGEST = 2**30

Check = Callable[[npt.NDArray[np.uint8], Mapping[str, object]], Sequence[str]]
"""Pictures [n, H, W, 3] and facts about the request → `allow`, `blur` or `refuse` for every one of them."""


def load_checker(target: str) -> Check:
    """The operator's function.

    Raises:
        Exception: whatever its module raises; LookupError, ImportError or AttributeError if there is none.
    """
    if ":" in target:
        checker: Check = EntryPoint("checker", target, GROUP).load()
        return checker
    [entry] = entry_points(group=GROUP, name=target)
    found: Check = entry.load()
    return found


def main(target: str) -> None:
    """Load, say whether that worked, then answer until the other end closes."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    stage = socket.socket(fileno=os.dup(0))
    try:
        check = load_checker(target)
    except Exception as error:
        logger.exception("the safety checker cannot be loaded")
        send_frame(stage, json.dumps({"failed": type(error).__name__}).encode())
        return
    send_frame(stage, b"{}")
    while head := receive_frame(stage, LONGEST):
        pixels = receive_frame(stage, LONGEST)
        send_frame(stage, json.dumps(_answer(check, json.loads(head), pixels)).encode())


def _answer(check: Check, head: dict[str, Any], pixels: bytes) -> dict[str, object]:
    pictures = np.frombuffer(pixels, np.uint8).reshape(head["shape"])
    try:
        return {"verdicts": [str(verdict) for verdict in check(pictures, head["facts"])]}
    except Exception as error:  # noqa: BLE001 - it is the operator's code, and this picture's alone
        # it may repeat what it was told, and prompts stand in no log
        texts = [str(head["facts"].get(name, "")) for name in ("prompt", "negative_prompt")]
        logger.error("the safety checker failed\n%s", traceback_without(error, texts))
        return {"failed": type(error).__name__}


if __name__ == "__main__":
    main(sys.argv[1])
