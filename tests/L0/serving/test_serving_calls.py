"""Who calls, and how a call is given up: the front door's word to the first stage and to the loop."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_serving_stages import SEAL, Server, _array, called_by

from serving.caller import Caller, caller_of
from serving.calls import CallCancelled, Calls
from serving.deadline import Deadline
from serving.errors import ConceptNotFound, InvalidField
from serving.fields import RawArray
from serving.seal import Seal
from serving.stages.names import CONTROL
from serving.stages.stage import bytes_tensor
from tests.helpers.concepts import make_concept

SHOP = Caller("shop", "acme", ("acme-*", "hen"), "call-1")


def control(content: dict[str, Any], seal: Seal = SEAL) -> dict[str, RawArray]:
    return {CONTROL: bytes_tensor([seal.of(CONTROL).close(json.dumps(content))])}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_caller_crosses_sealed() -> None:
    assert caller_of(called_by(SHOP), SEAL) == SHOP


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"{}",
        SHOP.sealed(Seal("another")),
        SEAL.close('{"client": "x"}'),
        SEAL.of(CONTROL).close('{"client": "x"}'),
        SHOP.sealed(SEAL)[:-1],
    ],
    ids=["nothing", "bare", "another secret", "purpose request", "purpose control", "cut"],
)
def test_a_caller_that_nobody_sealed_is_refused_before_any_work(server: Server, sealed: bytes) -> None:
    with pytest.raises(InvalidField, match="caller: not sealed"):
        server.text({"caller": bytes_tensor([sealed]), "prompt": _array("a")})
    with pytest.raises(InvalidField, match="caller: not sealed"):
        server.text({"prompt": _array("a")})
    assert not server.runner.batches


@pytest.mark.parametrize(
    ("concept", "seen"),
    [("acme-1", True), ("acme-", True), ("hen", True), ("hens", False), ("acme", False), ("Hen", False),
     (f"hen@{'0' * 64}", True), (f"cow@{'0' * 64}", False)],
)  # fmt: skip
def test_concepts_that_a_tenant_sees(concept: str, seen: bool) -> None:
    assert SHOP.sees(concept) is seen


@pytest.mark.parametrize("version", ["", "@" + "0" * 64])
def test_a_hidden_concept_is_refused_in_the_words_for_an_absent_one(server: Server, version: str) -> None:
    make_concept(server.registry_folder, "cow")
    messages = []
    for concepts, concept in ((("hen",), "cow"), (("*",), "bat")):
        fields = {"prompt": _array("a *"), "concept": _array(concept + version)}
        with pytest.raises(ConceptNotFound) as caught:
            server.text(called_by(Caller("shop", "acme", concepts, "c")) | fields)
        messages.append(str(caught.value).replace(concept, "X"))
    assert messages[0] == messages[1]
    assert server.tensors(prompt="a *", concept="cow", steps=1)["images"].shape == (1,)


def before_the_loop(server: Server, call: str, **fields: Any) -> dict[str, RawArray]:
    tensors = called_by(Caller("shop", "acme", ("*",), call)) | {k: _array(v) for k, v in fields.items()}
    tensors |= server.text(tensors)
    return tensors | server.image(tensors)


def test_a_cancelled_call_frees_its_lanes_and_no_others(server: Server) -> None:
    wanted = before_the_loop(server, "wanted", prompt="a", steps=3)
    alone = server.loop(wanted)["latent"]
    given_up = [before_the_loop(server, f"c{k}", prompt="a", steps=100, num_images=3) for k in range(2)]
    pending = [server.loop.begin(tensors, Deadline()) for tensors in given_up]
    beside = server.loop.begin(wanted, Deadline())
    for k in range(2):
        server.loop(control({"cancel": f"c{k}"}))
    for one in pending:
        with pytest.raises(CallCancelled, match="request: cancelled"):
            one.outputs()
    np.testing.assert_array_equal(beside.outputs()["latent"], alone)
    server.loop.close()
    assert json.loads(server.loop(control({}))["unet_loop_report"][0])["pictures"] == 0
    server.engine.check_integrity()


def test_a_call_cancelled_in_an_earlier_stage_never_gets_a_lane(server: Server) -> None:
    tensors = before_the_loop(server, "gone", prompt="a", steps=2)
    server.loop(control({"cancel": "gone"}))
    with pytest.raises(CallCancelled):
        server.loop(tensors)
    assert not server.denoiser.batches


@pytest.mark.parametrize("seal", [Seal("another"), SEAL.of("caller")], ids=["another secret", "another purpose"])
def test_control_that_nobody_sealed_is_refused(server: Server, seal: Seal) -> None:
    forged = {CONTROL: bytes_tensor([seal.close('{"cancel": "x"}')])}
    with pytest.raises(InvalidField, match="control: not sealed"):
        server.loop(forged)


def test_what_is_remembered_is_bounded() -> None:
    calls = Calls(max_remembered=2)
    for call in "abc":
        calls.cancel(call)
    calls.require_wanted("a")
    for call in "bc":
        with pytest.raises(CallCancelled):
            calls.require_wanted(call)


def test_a_call_that_comes_as_it_is_cancelled_is_cancelled() -> None:
    calls, future = Calls(), Future[int]()
    calls.cancel("a")
    calls.add("a", future)
    assert future.cancelled()
    assert len(calls) == 0


def test_calls_that_are_done_are_forgotten() -> None:
    calls, future = Calls(), Future[int]()
    calls.add("a", future)
    assert len(calls) == 1
    future.set_result(1)
    assert len(calls) == 0
    calls.cancel("a")
    assert future.result() == 1
