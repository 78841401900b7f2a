"""The canary: what it takes for illness, and what for a server that is busy or full."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from serving.caller import CANARY_CALL, caller_of
from serving.canary import CALLER, Canary, Verdict
from serving.front.wire import SERVICE
from serving.private import Private
from serving.seal import Seal
from serving.stages.stage import bytes_tensor

SEAL = Seal("ab" * 32)
PATIENCE = 30.0
PRIVATE = partial(Private, secret="secret")
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED, "num_images: 1 pictures, and the queue has room for 0; accepted: fewer"
BROKEN = grpc.StatusCode.INTERNAL, "request: failed inside the server; accepted: report its id"
LATE = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
TOLD_IN_TEXT = (FULL[0], BROKEN[0])
"""As Triton tells a stream of what a stage said."""
GONE = grpc.StatusCode.UNAVAILABLE, "Socket closed"


class Clock:
    """Goes on a little whenever it is read."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class Triton(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers canaries as it is told to, and control requests with what the loop would say."""

    def __init__(self) -> None:
        self.runs = 7
        self.in_a_step = False
        self.mute = False
        """The loop says nothing."""
        self.refuses: tuple[grpc.StatusCode, str] | None = None
        self.streams_refuse: tuple[grpc.StatusCode, str] | None = None
        self.hangs: Event | None = None
        self.asked: list[Any] = []
        self.told: list[dict[str, str]] = []

    def service(self, details: Any) -> Any:
        if not {*PRIVATE("").metadata} <= {*details.invocation_metadata}:
            return None
        if details.method == SERVICE + "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._infer)

    def _infer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        request = pb.ModelInferRequest.FromString(message)
        if request.model_name == "unet_loop":
            return self._control(request, context)
        self._picture(request, context, self.refuses)
        return b""

    def _stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            request = pb.ModelInferRequest.FromString(message)
            yield b""
            if (refuses := self.streams_refuse or self.refuses) and refuses[0] in TOLD_IN_TEXT:
                self._picture(request, context, None)
                self.runs -= 1
                text = refuses[1] if refuses is BROKEN else f"in ensemble 'x', {refuses[1]} [{refuses[0].name}]"
                yield pb.ModelStreamInferResponse(error_message=text).SerializeToString()
            else:
                self._picture(request, context, refuses)
            yield b""

    def _picture(
        self, request: Any, context: grpc.ServicerContext, refuses: tuple[grpc.StatusCode, str] | None
    ) -> None:
        self.asked.append(request)
        if self.hangs is not None:
            self.hangs.wait(60)
        if refuses is not None:
            context.abort(*refuses)
        self.runs += 1

    def _control(self, request: Any, context: grpc.ServicerContext) -> bytes:
        self.told.append(json.loads(SEAL.of("control").open(request.raw_input_contents[0][4:])))
        if self.mute:
            context.abort(grpc.StatusCode.UNAVAILABLE, "mute")
        answer = pb.ModelInferResponse(model_name="unet_loop")
        answer.outputs.add(name="unet_loop_report", datatype="BYTES", shape=[1])
        text = json.dumps({"steps": 1, "runs": self.runs, "pictures": 0, "in_a_step": self.in_a_step}).encode()
        answer.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
        content: bytes = answer.SerializeToString()
        return content


@pytest.fixture
def triton() -> Triton:
    return Triton()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def canary(triton: Triton, clock: Clock, tmp_path: Path) -> Iterator[Canary]:
    private = PRIVATE(str(tmp_path / "s"))
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((triton,))
    server.add_insecure_port(private.address)
    server.start()
    canary = Canary(private, SEAL, 16, PATIENCE, clock)
    yield canary
    canary.close()
    server.stop(None).wait()


def verdict(canary: Canary) -> Verdict:
    """Of the next one."""
    while (found := canary.look()) is Verdict.WAITING:
        time.sleep(0.005)
    return found


def test_it_asks_for_the_smallest_picture_on_both_ways(canary: Canary, triton: Triton) -> None:
    assert [verdict(canary) for _ in range(3)] == [Verdict.WELL] * 3
    assert [request.model_name for request in triton.asked] == ["vico", "vico_stream", "vico"]
    for request in triton.asked:
        contents = {tensor.name: raw for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)}
        assert caller_of({"caller": bytes_tensor([contents["caller"][4:]])}, SEAL) == CALLER
        assert contents["steps"] == (1).to_bytes(4, "little")
        assert contents["height"] == contents["width"] == (16).to_bytes(4, "little")
        assert request.id == CANARY_CALL
        assert request.parameters["timeout"].int64_param == PATIENCE * 1e6


@pytest.mark.parametrize("refusal", [BROKEN, GONE, LATE])
def test_no_picture_and_no_run_of_the_graph_is_illness(
    canary: Canary, triton: Triton, clock: Clock, refusal: tuple[grpc.StatusCode, str]
) -> None:
    triton.refuses = refusal
    assert verdict(canary) is Verdict.ILL, "from the beginning"
    triton.refuses = None
    assert verdict(canary) is Verdict.WELL
    triton.refuses = refusal
    clock.now += PATIENCE
    assert verdict(canary) is Verdict.ILL


def test_a_stage_that_breaks_is_ill_however_busy_the_loop_is(canary: Canary, triton: Triton) -> None:
    triton.refuses, triton.in_a_step = BROKEN, True
    assert verdict(canary) is Verdict.ILL


def test_one_way_that_is_blocked_is_illness(canary: Canary, triton: Triton, clock: Clock) -> None:
    """A stage that only streams go through."""
    triton.streams_refuse = LATE
    assert verdict(canary) is Verdict.WELL
    clock.now += PATIENCE
    assert [verdict(canary), verdict(canary)] == [Verdict.ILL] * 2, "the other way is no answer to that"
    assert [request.model_name for request in triton.asked] == ["vico", *["vico_stream"] * 2]


def test_a_full_queue_of_a_loop_that_goes_on_is_health(canary: Canary, triton: Triton, clock: Clock) -> None:
    triton.refuses = FULL
    for _ in range(5):
        clock.now += PATIENCE
        triton.runs += 1
        assert verdict(canary) is Verdict.WELL


def test_a_full_queue_of_a_loop_that_hangs_is_illness(canary: Canary, triton: Triton, clock: Clock) -> None:
    """Nothing ever leaves that queue: each canary would be refused at once, in the stage's own words."""
    assert verdict(canary) is Verdict.WELL
    triton.refuses = FULL
    found = []
    for _ in range(4):
        found.append(verdict(canary))
        clock.now += PATIENCE / 2
    assert found == [Verdict.WELL, Verdict.WELL, Verdict.ILL, Verdict.ILL]


@pytest.mark.parametrize("refusal", [FULL, LATE])
def test_a_step_that_takes_long_is_no_illness(
    canary: Canary, triton: Triton, clock: Clock, refusal: tuple[grpc.StatusCode, str]
) -> None:
    """A large picture on a processor: minutes for one run of the graph. When it is overdue the loop says so."""
    triton.refuses, triton.in_a_step = refusal, True
    for _ in range(5):
        clock.now += PATIENCE
        assert verdict(canary) is Verdict.WELL
    triton.in_a_step = False
    clock.now += PATIENCE
    assert verdict(canary) is Verdict.ILL


def test_a_loop_that_says_nothing_does_not_go_on(canary: Canary, triton: Triton, clock: Clock) -> None:
    assert verdict(canary) is Verdict.WELL
    triton.refuses, triton.mute = FULL, True
    clock.now += PATIENCE
    assert verdict(canary) is Verdict.ILL


def test_looking_never_waits(canary: Canary, triton: Triton) -> None:
    triton.hangs = Event()
    began = time.monotonic()
    assert [canary.look() for _ in range(3)] == [Verdict.WAITING] * 3
    assert time.monotonic() - began < PATIENCE / 2
    while not triton.asked:
        time.sleep(0.005)
    assert len(triton.asked) == 1, "one at a time"
    triton.hangs.set()
    assert verdict(canary) is Verdict.WELL


def test_a_server_passes_when_both_ways_do(canary: Canary, triton: Triton) -> None:
    assert canary.passes(PATIENCE)
    assert [request.model_name for request in triton.asked] == ["vico", "vico_stream"]


def test_a_server_on_which_one_way_breaks_does_not_pass(canary: Canary, triton: Triton, clock: Clock) -> None:
    triton.streams_refuse = BROKEN
    wait = time.sleep

    def asked() -> bool:
        return len(triton.asked) >= 4

    def passing(_: float) -> None:
        wait(0.005)
        if asked():
            clock.now += PATIENCE

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", passing)
        assert not canary.passes(PATIENCE)


def test_the_lanes_of_everybody_are_freed(canary: Canary, triton: Triton) -> None:
    canary.cancel_all()
    assert triton.told == [{"all": "cancelled"}]
    triton.mute = True
    canary.cancel_all()
