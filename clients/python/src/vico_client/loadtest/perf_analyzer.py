"""Triton's perf_analyzer: the same requests in its input format, its command line, and its answers read back."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.plan import Plan, user_requests
from vico_client.wire import MODEL

TOOL = "perf_analyzer"


def input_data(requests: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """For `--input-data`: one step per request, each field as it travels, shape [1]; absent fields stay absent."""
    return {
        "data": [{name: {"content": [value], "shape": [1]} for name, value in fields.items()} for fields in requests]
    }


def cycle_requests(plan: Plan) -> list[dict[str, Any]]:
    """The fields of the requests that a closed loop with a `cycle` takes turns at, in its order."""
    cycle, users = plan.load.cycle, plan.load.users  # type: ignore[union-attr]
    streams = [user_requests(plan, user) for user in range(users)]
    turns = itertools.chain.from_iterable(zip(*streams))
    return [request.fields for request in itertools.islice(turns, cycle)]


def find_tool(given: Path | None) -> Path:
    """The program given, or the one on PATH; LoadTestError says how to get it."""
    found = shutil.which(given or TOOL)
    if found is None:
        problem = "is not an executable file" if given else "is not installed"
        raise LoadTestError(f"{TOOL} {problem}", field="tool", hint="docs/loadtest.md says how to install it")
    return Path(found)


def command(tool: Path, address: str, data: Path, export: Path, *, users: int, count: int, timeout: float) -> list[str]:
    """A closed loop of `users` over the requests of `data`, until `count` were measured; timeout: seconds each."""
    return [
        *(str(tool), "-m", MODEL, "-i", "grpc", "-u", address),
        *("--input-data", str(data), "--concurrency-range", str(users), "--request-count", str(count)),
        *("--request-parameter", f"timeout:{int(timeout * 1e6)}:int"),
        *("--profile-export-file", str(export)),
    ]


def run_tool(arguments: list[str], log: Path, seconds: float) -> None:
    """Run it; its output goes to `log`. LoadTestError with its last words if it fails or takes more than `seconds`."""
    with log.open("w") as output:
        try:
            done = subprocess.run(
                arguments, stdout=output, stderr=subprocess.STDOUT, env=_environment(arguments[0]), timeout=seconds
            )
            status: object = done.returncode
        except subprocess.TimeoutExpired:
            status = f"no end after {seconds:.0f} s"
        except OSError as error:
            status = error.strerror
    if status != 0:
        words = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise LoadTestError(f"{TOOL} failed ({status}): {' '.join(words[-2:])}", field="tool", hint=f"see {log.name}")


def _environment(tool: str) -> dict[str, str]:
    """Its two libraries lie in `lib/` beside it where docs/loadtest.md was followed."""
    libraries = Path(tool).resolve().parent / "lib"
    paths = [str(libraries), os.environ.get("LD_LIBRARY_PATH", "")] if libraries.is_dir() else []
    return {**os.environ, **({"LD_LIBRARY_PATH": ":".join(filter(None, paths))} if paths else {})}


def read_times(export: Path) -> list[tuple[float, float]]:
    """(sent, answered) of every request in its profile export, in seconds from the first."""
    try:
        # the answers' pictures are in it as text, byte by byte, which is no UTF-8
        content = json.loads(export.read_bytes().decode("utf-8", "replace"), strict=False)
        requests = content["experiments"][0]["requests"]
        pairs = [(request["timestamp"], request["response_timestamps"][-1]) for request in requests]
    except (LookupError, TypeError, ValueError) as error:
        raise LoadTestError(f"its export is malformed: {error}", field="tool", hint=f"{TOOL} of Triton 24.10") from None
    first = min((sent for sent, _ in pairs), default=0)
    return sorted(((sent - first) / 1e9, (answered - first) / 1e9) for sent, answered in pairs)


def write_data(path: Path, requests: list[dict[str, Any]]) -> None:
    """Write the file for `--input-data`."""
    path.write_text(json.dumps(input_data(requests), indent=1) + "\n", encoding="utf-8")
