"""A stage is loaded again by a Triton that answers, refuses, or stands still while it is asked."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import PUBLIC_MODELS
from serving.private import Private
from serving.reload import reload_stage


class FakeTriton(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = False
        self.stuck = threading.Event()
        self.stuck.set()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(getattr(self, details.method.rpartition("/")[2]))

    def RepositoryIndex(self, message: bytes, context: Any) -> bytes:  # noqa: N802 - gRPC's name
        models = [pb.RepositoryIndexResponse.ModelIndex(name=name) for name in (*PUBLIC_MODELS, "vae_decoder")]
        answer: bytes = pb.RepositoryIndexResponse(models=models).SerializeToString()
        return answer

    def RepositoryModelUnload(self, message: bytes, context: Any) -> bytes:  # noqa: N802 - gRPC's name
        self.asked.append(f"-{pb.RepositoryModelUnloadRequest.FromString(message).model_name}")
        return b""

    def RepositoryModelLoad(self, message: bytes, context: Any) -> bytes:  # noqa: N802 - gRPC's name
        self.asked.append(pb.RepositoryModelLoadRequest.FromString(message).model_name)
        if self.refuses:
            context.abort(grpc.StatusCode.INTERNAL, "failed to load")
        self.stuck.wait(100)
        return b""


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[tuple[FakeTriton, Private]]:
    fake, private = FakeTriton(), Private(str(tmp_path / "socket"), "secret")
    server = grpc.server(ThreadPoolExecutor(2), handlers=[fake])
    server.add_insecure_port(private.address)
    server.start()
    yield fake, private
    fake.stuck.set()
    server.stop(None).wait()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for tritonserver."""
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


def test_the_stage_and_then_the_ensembles(triton: Any, process: Any) -> None:
    fake, private = triton
    assert reload_stage(private, "text_encoder", process.pid)
    assert fake.asked == ["-text_encoder", "text_encoder", *sorted(PUBLIC_MODELS)]


def test_a_refusal(triton: Any, process: Any) -> None:
    fake, private = triton
    fake.refuses = True
    assert not reload_stage(private, "text_encoder", process.pid)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
def test_nobody_waits_for_a_server_that_cannot_answer(triton: Any, process: Any, number: signal.Signals) -> None:
    fake, private = triton
    fake.stuck.clear()
    os.kill(process.pid, number)
    began = time.monotonic()
    assert not reload_stage(private, "text_encoder", process.pid)
    assert time.monotonic() - began < 60, "far from the patience for a load"
