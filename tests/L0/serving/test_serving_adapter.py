from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.config import VARIABLE, ServingConfig
from serving.deadline import Deadline
from serving.deferred_adapter import DeferredAdapter
from serving.errors import (
    ConceptRefused,
    DeadlineExceeded,
    GraphError,
    InvalidField,
    LaunchError,
    Overloaded,
    ServingError,
    Status,
    to_wire,
)
from serving.fields import RawArray, RawFields
from serving.seal import Seal
from serving.stages.stage import NO_DEADLINE, Pending
from serving.triton_adapter import TritonAdapter
from vico.errors import ConceptError, PromptError, SamplerError, VicoError


class FakeTritonError:
    INVALID_ARG, NOT_FOUND, UNAVAILABLE, INTERNAL = range(4)

    def __init__(self, message: str, code: int) -> None:
        self.message, self.code = message, code


@dataclass
class FakeResponse:
    output_tensors: list[Any] = field(default_factory=list)
    error: FakeTritonError | None = None


@dataclass
class FakeTensor:
    _name: str
    _array: RawArray

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> RawArray:
        return self._array


@dataclass
class FakeRequest:
    tensors: list[FakeTensor]
    id: str = ""
    microseconds: int = 0
    said: str = ""

    def parameters(self) -> str:
        return self.said

    def timeout(self) -> int:
        return self.microseconds

    def inputs(self) -> list[FakeTensor]:
        return self.tensors

    def request_id(self) -> str:
        return self.id


class ModelError(Exception):
    pass


PB = SimpleNamespace(
    Tensor=FakeTensor,
    InferenceResponse=FakeResponse,
    TritonError=FakeTritonError,
    TritonModelException=ModelError,
    TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
)


class FakeStage:
    """Doubles `x`; a negative number breaks it in a way of its own."""

    name = "fake"

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        x = float(inputs["x"][0])
        if deadline.at < time.monotonic() + 1:
            raise DeadlineExceeded("timeout", "is short", "longer")
        if x == -1:
            raise InvalidField("x", "is\nnegative", "more")
        if x == -2:
            raise RuntimeError("/secret/path broke")
        if x == -3:
            raise GraphError("graph", "/secret/path broke")
        return {"y": inputs["x"] * 2}


def requests(*values: float, request_id: str = "") -> list[FakeRequest]:
    return [FakeRequest([FakeTensor("x", np.array([value]))], request_id) for value in values]


def test_every_request_gets_its_own_answer() -> None:
    answers = TritonAdapter(PB, FakeStage()).execute(requests(1, -1, -2, 2))
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    assert [answers[i].output_tensors[0].as_numpy()[0] for i in (0, 3)] == [2, 4]
    assert (answers[1].error.message, answers[1].error.code) == (
        "x: is negative; accepted: more",
        PB.TritonError.INVALID_ARG,
    )


def test_the_timeout_reaches_the_stage() -> None:
    short, long = requests(1, 1)
    short.microseconds, long.microseconds = 300_000, 60_000_000
    refused, served = TritonAdapter(PB, FakeStage()).execute([short, long])
    assert refused.error.code == PB.TritonError.UNAVAILABLE
    assert refused.error.message.endswith("[DEADLINE_EXCEEDED]")
    assert served.error is None


@pytest.mark.parametrize("value", [-2, -3])
def test_our_own_faults_tell_a_request_id_only(value: float, caplog: pytest.LogCaptureFixture) -> None:
    [answer] = TritonAdapter(PB, FakeStage()).execute(requests(value, request_id="r1"))
    assert answer.error.code == PB.TritonError.INTERNAL
    assert "'r1'" in answer.error.message
    assert "secret" not in answer.error.message
    assert "/secret/path broke" in caplog.text
    [answer] = TritonAdapter(PB, FakeStage()).execute(requests(value))
    assert answer.error.message != "", "a request without an id gets one"


def test_a_stage_that_cannot_open_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def opener(config: ServingConfig) -> FakeStage:
        assert config == sent
        raise GraphError("graphs", "absent", "others")

    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ModelError, match="is not set"):
        TritonAdapter.open(PB, opener)
    sent = ServingConfig(tmp_path, tmp_path, slots=3).launched(tmp_path, "secret")
    monkeypatch.setenv(VARIABLE, sent.to_env()[VARIABLE])
    with pytest.raises(ModelError, match="graphs: absent; accepted: others"):
        TritonAdapter.open(PB, opener)


@pytest.mark.parametrize(
    ("error", "code", "tag"),
    [
        (InvalidField("f", "p", "a"), "INVALID_ARG", ""),
        (PromptError("f", "p", "a"), "INVALID_ARG", ""),
        (SamplerError("f", "p", "a"), "INVALID_ARG", ""),
        (ConceptRefused("f", "p", "a"), "INVALID_ARG", " [FAILED_PRECONDITION]"),
        (ConceptError("f", "p", "a"), "INVALID_ARG", " [FAILED_PRECONDITION]"),
        (Overloaded("f", "p", "a"), "UNAVAILABLE", " [RESOURCE_EXHAUSTED]"),
        (LaunchError("f", "p", "a"), "INTERNAL", ""),
    ],
)
def test_codes(error: VicoError, code: str, tag: str) -> None:
    wire = to_wire(error)
    assert (wire.code, wire.message) == (code, f"f: p; accepted: a{tag}")


def test_every_status_has_a_code() -> None:
    for status in Status:
        error = ServingError("f", "p")
        error.status = status
        assert hasattr(FakeTritonError, to_wire(error).code)


def test_a_seal_is_closed_by_one_secret_only() -> None:
    sealed = Seal("one").close("text ü")
    assert Seal("one").open(sealed) == "text ü"
    for wrong in (sealed[:-1], b"", b"{}", b"x" + sealed[1:], sealed + b"x"):
        with pytest.raises(InvalidField):
            Seal("one").open(wrong)
    with pytest.raises(InvalidField):
        Seal("two").open(sealed)


@dataclass
class FakeSender:
    sent: list[tuple[FakeResponse, int]] = field(default_factory=list)

    def send(self, response: FakeResponse, flags: int) -> None:
        self.sent.append((response, flags))


@dataclass
class DeferredRequest(FakeRequest):
    sender: FakeSender = field(default_factory=FakeSender)

    def get_response_sender(self) -> FakeSender:
        return self.sender


class FakeDeferredStage(FakeStage):
    """Its work is done when the test says so."""

    def __init__(self) -> None:
        self.futures: list[Future[None]] = []
        self.inputs: list[RawFields] = []

    def begin(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> Pending:
        if float(inputs["x"][0]) == -1:
            raise InvalidField("x", "is negative", "more")
        future: Future[None] = Future()
        self.futures.append(future)
        self.inputs.append(inputs)
        return Pending(future, lambda: self(inputs, deadline))

    def close(self) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(None)


def deferred(*values: float) -> list[DeferredRequest]:
    return [DeferredRequest([FakeTensor("x", np.array([value]))]) for value in values]


def test_a_deferred_request_is_answered_once_when_it_is_done() -> None:
    stage = FakeDeferredStage()
    adapter = DeferredAdapter(PB, stage)
    first, refused, second, broken = asked = deferred(1, -1, 2, -2)
    adapter.begin(asked)
    first.tensors[0]._array[0] = 77  # Triton takes the memory back
    assert [len(request.sender.sent) for request in asked] == [0, 1, 0, 0]
    stage.futures[1].set_result(None)
    assert wait_for(lambda: second.sender.sent)
    assert not first.sender.sent, "whoever is done first is answered first"
    adapter.close()
    assert [len(request.sender.sent) for request in asked] == [1] * 4
    assert {flags for request in asked for _, flags in request.sender.sent} == {PB.TRITONSERVER_RESPONSE_COMPLETE_FINAL}
    answers = [request.sender.sent[0][0] for request in asked]
    assert [answer.error is None for answer in answers] == [True, False, True, False]
    assert [answers[k].output_tensors[0].as_numpy()[0] for k in (0, 2)] == [2, 4]
    assert refused.sender.sent[0][0].error.code == PB.TritonError.INVALID_ARG  # type: ignore[union-attr]
    assert "secret" not in broken.sender.sent[0][0].error.message  # type: ignore[union-attr]


def test_an_answer_that_cannot_be_sent_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(FakeSender):
        def send(self, response: FakeResponse, flags: int) -> None:
            raise RuntimeError("nobody there")

    adapter = DeferredAdapter(PB, FakeDeferredStage())
    asked = deferred(-1, 1, 2)
    asked[0].sender, asked[1].sender = Gone(), Gone()
    adapter.begin(asked)
    adapter.close()
    assert len(asked[2].sender.sent) == 1
    assert caplog.text.count("could not be sent") == 2


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(condition())
