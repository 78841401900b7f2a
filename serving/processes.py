"""What /proc says of the server's processes: who lives, who stands still."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

_STAGE = re.compile(r"/([^/]+)/\d+/model\.py$")
_STATE, _PARENT = 0, 1
"""Places in `/proc/<pid>/stat`, counted behind the name, which may hold anything."""


def state_of(pid: int) -> str:
    """`R`, `S`, `D`, … as `ps` shows it; `Z` = ended, also when there is no such process."""
    return _stat(pid)[_STATE]


def stage_processes(server: int) -> dict[str, int]:
    """Process ids of the Python stubs of tritonserver `server`, by stage."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if _stat(pid)[_PARENT] != str(server):
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for argument in arguments:
            if match := _STAGE.search(argument.decode(errors="replace")):
                found[match[1]] = pid
    return found


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass
class Watch:
    """Looks at some processes again and again. One that is seen stopped twice running counts as frozen."""

    processes: dict[str, int]
    _stopped: frozenset[str] = frozenset()

    def broken(self) -> dict[str, str]:
        """Names of those that ended or stand still, and which."""
        states = {name: state_of(pid) for name, pid in self.processes.items()}
        stopped = frozenset(name for name, state in states.items() if state in "Tt")
        frozen, self._stopped = stopped & self._stopped, stopped
        ended = {name: "ended" for name, state in states.items() if state in "ZX"}
        return ended | dict.fromkeys(frozen, "frozen")


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ["Z", ""]
    return text.rpartition(")")[2].split()[:2]
