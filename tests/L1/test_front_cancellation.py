"""A client that goes away without a timeout frees its lanes, also through the ensemble; its neighbours go on."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from served import Answer, Caller, Loop, Served, wait_until
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import SERVICE

LONG: dict[str, Any] = {"prompt": "a dog", "steps": 100, "num_images": 3}
_CHILD = """
import sys
import grpc
from tritonclient.grpc import service_pb2 as pb
address, body, count = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
channels = [grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(count)]
calls = [c.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(body) for c in channels]
print("asked", flush=True)
for call in calls:
    call.exception()
print("answered", flush=True)
"""


def body(**fields: Any) -> bytes:
    request = pb.ModelInferRequest(model_name="vico")
    for name, value in fields.items():
        content = value.encode() if isinstance(value, str) else value.to_bytes(4, "little")
        request.inputs.add(name=name, datatype="BYTES" if isinstance(value, str) else "INT32", shape=[1])
        size = len(content).to_bytes(4, "little") if isinstance(value, str) else b""
        request.raw_input_contents.append(size + content)
    message: bytes = request.SerializeToString()
    return message


@pytest.fixture
def loop(server: Served) -> Loop:
    loop = Loop(server)
    assert wait_until(lambda: loop.pictures() == 0, 120), "another test's lanes"
    return loop


def test_a_client_that_cancels_or_vanishes_frees_its_lanes_at_once(server: Served, call: Caller, loop: Loop) -> None:
    alone = call(prompt="a cat", steps=60, seed=9)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(Caller(server.address).ask, prompt="a cat", steps=60, seed=9)
        assert wait_until(lambda: loop.pictures() == 1, 60)
        for how in ("cancels", "vanishes"):
            channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
            asked = channel.unary_unary(SERVICE + "ModelInfer").future(body(**LONG))
            assert wait_until(lambda: loop.pictures() == 4, 60)
            before = loop.told()["steps"]
            _ = asked.cancel() if how == "cancels" else channel.close()
            assert wait_until(lambda: loop.pictures() <= 1, 60)
            print(how, "freed after", loop.told()["steps"] - before, "steps, the polling included")
            channel.close()
        assert not beside.done(), "the test means nothing"
        other = beside.result(120)
    assert isinstance(other, Answer), other
    assert other.images == alone.images, "bit for bit"


def killed_mid_request(server: Served, loop: Loop, clients: int) -> None:
    """Each round one process with several connections is killed with SIGKILL, without a word to the server."""
    each = 10
    for _ in range(clients // each):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, server.address, body(**LONG | {"num_images": 1}).hex(), str(each)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "asked\n"
        assert wait_until(lambda: loop.pictures() == each, 120)
        child.kill()
        assert child.wait() == -9
        assert wait_until(lambda: loop.pictures() == 0, 120)


def test_ten_clients_killed_mid_request_leave_no_lane(server: Served, call: Caller, loop: Loop) -> None:
    killed_mid_request(server, loop, 10)
    assert call(prompt="a", steps=1).info["batch"]["lanes"] == 1


@pytest.mark.slow
def test_a_hundred_clients_killed_mid_request_leave_no_lane(server: Served, call: Caller, loop: Loop) -> None:
    killed_mid_request(server, loop, 100)
    assert call(prompt="a", steps=1).info["batch"]["lanes"] == 1


def test_nobody_cancels_anothers_call_by_its_id(server: Served, loop: Loop) -> None:
    """Both give the same request id; one of them goes away."""
    message = pb.ModelInferRequest.FromString(body(prompt="a", steps=60))
    message.id = "the-same"
    channels = [grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in "ab"]
    calls = [c.unary_unary(SERVICE + "ModelInfer").future(message.SerializeToString()) for c in channels]
    assert wait_until(lambda: loop.pictures() == 2, 60)
    calls[0].cancel()
    assert wait_until(lambda: loop.pictures() < 2, 60)
    assert pb.ModelInferResponse.FromString(calls[1].result(timeout=120)).id == "the-same"
    for channel in channels:
        channel.close()
