"""Threads that draw give way to those that answer, where both want the same cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread, get_native_id

import onnx
import pytest
from onnx import TensorProto, helper

from serving import priority
from serving.runners.onnx_cpu import OnnxCpuRunner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness of single threads is Linux's")


def niceness(thread: int | None = None) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread or get_native_id())


def in_a_thread(ask: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(ask).result()


def test_what_is_opened_on_the_cpu_starts_threads_that_give_way() -> None:
    before = niceness()
    found: list[int] = []

    def started() -> str:
        thread = Thread(target=lambda: found.append(niceness()))
        thread.start()
        thread.join()
        return "opened"

    assert priority.open_drawing("cpu", started) == "opened"
    assert found == [priority.NICENESS]
    assert niceness() == before, "who opened it answers as before"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_with_a_gpu_nobody_gives_way(provider: str) -> None:
    assert priority.open_drawing(provider, lambda: in_a_thread(niceness)) == niceness()


def test_the_pool_of_a_graph_gives_way(tmp_path: Path) -> None:
    threads = set(Path("/proc/self/task").iterdir())
    runner = priority.open_drawing("cpu", lambda: OnnxCpuRunner(_graph(tmp_path), threads=3))
    pool = set(Path("/proc/self/task").iterdir()) - threads
    found = []
    for thread in pool:
        # the one that opened it ends just now
        with suppress(ProcessLookupError):
            found.append(niceness(int(thread.name)))
    assert len(found) >= 2, "ONNX Runtime started no threads"
    assert set(found) == {priority.NICENESS}
    del runner


def test_what_fails_to_open_says_why() -> None:
    def broken() -> None:
        raise ValueError("no such graph")

    with pytest.raises(ValueError, match="no such graph"):
        priority.open_drawing("cpu", broken)


def test_a_system_that_does_not_allow_it_draws_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)
    assert priority.open_drawing("cpu", lambda: 1) == 1
    assert "give way" in caplog.text


def _graph(folder: Path) -> Path:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "abs", value[:1], value[1:])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
