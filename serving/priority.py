"""Who gets a core first where there are too few of them: those that answer requests, before those that draw."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_native_id
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger("vico.serving")

NICENESS = 10
"""Of threads that give way (`man 7 sched`): they get all that the others leave, and next to nothing before them."""


def give_way() -> None:
    """Let the calling thread, and those that it starts from now on, run behind the others. Linux; elsewhere nothing."""
    try:
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
    except OSError:
        # only refusals under overload are slower for it
        logger.warning("the system does not let threads give way")


def open_drawing(provider: str, open_it: Callable[[], T]) -> T:
    """Open what draws pictures. Where it computes on the CPU, the threads that it starts give way.

    A step that comes some milliseconds later is not noticed; a refusal, a ping or a cancellation is. With a GPU the
    threads only hand it work, and it must not wait for that.

    Args:
        provider: of the serving config.
        open_it: starts the threads.
    """
    if provider != "cpu":
        return open_it()
    # a thread inherits the niceness of the one that starts it, and cannot take its own back: hence one for this alone
    with ThreadPoolExecutor(1, "opening", initializer=give_way) as executor:
        return executor.submit(open_it).result()
