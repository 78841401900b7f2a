"""The front door in this process, before a Triton that answers what it is told to."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_triton import answer_to, call, refusal, request_of, run, served, text
from tritonclient.grpc import service_pb2 as pb

from serving.errors import LaunchError, Overloaded
from serving.foresight.answering import Answering
from serving.foresight.question import Question
from serving.front.config import FrontConfig, Limits
from serving.front.door import Door
from serving.front.identity import USER_HEADER
from serving.front.keys import Key, hashed, write_keys
from serving.front.server_options import server_options
from serving.front.wire import SERVICE
from serving.private import Private
from serving.stages.names import NESTED
from tests.helpers.http2 import told_to_go

GOOD = request_of(prompt=text(b"a dog")).SerializeToString()
HEALTH = "/grpc.health.v1.Health/Check"
CLOSED = [
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
    "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister", "TraceSetting", "LogSettings",
    "NoSuchMethod",
]  # fmt: skip


@pytest.mark.parametrize("method", CLOSED)
def test_closed_methods_never_reach_triton(tmp_path: Path, method: str) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address):
            before = len(triton.headers)
            status, details = await refusal(address, b"", method)
            assert status == "PERMISSION_DENIED"
            assert details.startswith("method: closed; accepted: ModelConfig, ModelInfer")
            assert len(triton.headers) == before

    run(work())


@pytest.mark.parametrize(
    "path",
    [SERVICE.lower() + "ModelInfer", SERVICE + "modelinfer", SERVICE + "ModelInfer/", SERVICE + "%4dodelInfer",
     SERVICE + "x/../ModelInfer", "/" + SERVICE + "ModelInfer", "/inference.grpcInferenceService/ModelInfer",
     "/v2/models/vico/infer", "/v2/repository/index",
     SERVICE + "ModelInfer?x", "/grpc.reflection.v1.ServerReflection/x"],
)  # fmt: skip
def test_other_spellings_of_a_method_are_not_it(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address):
            status, _ = await refusal(address, GOOD, path)
            assert status in {"UNIMPLEMENTED", "PERMISSION_DENIED", "INTERNAL"}
            assert not triton.seen

    run(work())


def test_what_goes_on_to_triton(tmp_path: Path) -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = [
        ("traceparent", parent), ("tracestate", "not a state"), ("x-other", "1"),
        ("triton-grpc-protocol-vico-front", "guess"), ("vico-front", "guess"),
    ]  # fmt: skip

    async def work() -> None:
        async with served(tmp_path) as (_, triton, address):
            # gRPC writes a deadline of this length into its header rounded up to the next tenth of a second
            answer = await call(address, GOOD, metadata=headers, timeout=29.9)
            assert pb.ModelInferResponse.FromString(answer).id == "given-id"
            sent = triton.headers[-1]
            assert sent["traceparent"] == parent
            assert not {"x-other", "tracestate", "vico-front"} & sent.keys()
            assert sent["triton-grpc-protocol-vico-front"] == "secret-of-the-door"
            assert 0 < triton.seen[0].parameters["timeout"].int64_param <= 30_000_000

    run(work())


def test_what_the_door_says_by_itself(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (door, triton, address):
            assert await call(address, b"", "ServerLive") == await call(address, b"", "ServerReady") == b"\x08\x01"
            assert await call(address, b"\x0a\x04vico", "ModelReady") == b"\x08\x01"
            assert await call(address, b"", HEALTH) == b"\x08\x01"
            server = pb.ServerMetadataResponse.FromString(await call(address, b"", "ServerMetadata"))
            assert (server.name, list(server.extensions)) == ("vico", [])
            model = pb.ModelMetadataResponse.FromString(await call(address, b"\x0a\x04vico", "ModelMetadata"))
            assert "prompt" in {tensor.name for tensor in model.inputs}
            assert "caller" not in {tensor.name for tensor in model.inputs}
            before = len(triton.headers)
            config = pb.ModelConfigResponse.FromString(await call(address, b"\x0a\x04vico", "ModelConfig")).config
            assert len(triton.headers) == before, "it is answered from what the door kept"
            assert "prompt" in {tensor.name for tensor in config.input}
            assert "caller" not in {tensor.name for tensor in config.input}
            assert not config.HasField("ensemble_scheduling")
            for method in ("ModelReady", "ModelMetadata", "ModelConfig"):
                for name in (b"unet_loop", b"vico_stream", b"nothing", b"vico/1"):
                    status, details = await refusal(address, b"\x0a" + bytes([len(name)]) + name, method)
                    assert (status, details) == ("PERMISSION_DENIED", "model: not served here; accepted: vico")
            door.shut(drop=False)
            assert await call(address, b"", "ServerReady") == await call(address, b"\x0a\x04vico", "ModelReady") == b""
            assert await call(address, b"", HEALTH) == b"\x08\x02"
            assert await call(address, b"", "ServerLive") == b"\x08\x01"
            assert (await refusal(address, GOOD))[0] == "UNAVAILABLE"
            await door.open()
            assert await call(address, GOOD)
            assert len(triton.seen) == 1

    run(work())


def test_health_is_watched(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (door, _, address), grpc.aio.insecure_channel(address) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert await watch.read() == b"\x08\x01"
            door.shut(drop=False)
            assert await watch.read() == b"\x08\x02"
            watch.cancel()

    run(work())


def test_who_watches_the_health_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (door, _, address), grpc.aio.insecure_channel(address) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert await watch.read() == b"\x08\x01"
            draining = asyncio.create_task(door.drain(60.0))
            assert await watch.read() == b"\x08\x02"
            assert await watch.read() is grpc.aio.EOF
            assert await watch.code() is grpc.StatusCode.OK, "it ends by itself"
            await draining

    run(work())


WORDS = [
    (grpc.StatusCode.NOT_FOUND, "in ensemble 'vico', concept: no concept 'x'; accepted: y", "NOT_FOUND",
     "concept: no concept 'x'; accepted: y"),
    (grpc.StatusCode.INTERNAL, "in ensemble 'vico', Stub process 'unet_loop_0_0' is not healthy.", "UNAVAILABLE",
     "request: the server could not finish it; accepted: the same request later"),
    (grpc.StatusCode.INTERNAL, "Traceback /opt/vico/serving/x.py line 3", "INTERNAL",
     "request: failed inside the server; accepted: try again, and report id 'given-id'"),
    (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'x' for model 'text_encoder'", "INVALID_ARGUMENT",
     "request: its form is refused; accepted: inputs of the documented names, types and shapes"),
    (grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'x'", "UNAVAILABLE",
     "request: the server could not finish it; accepted: the same request later"),
    (grpc.StatusCode.UNKNOWN, "concept: a\nb; accepted: c", "INTERNAL",
     "request: failed inside the server; accepted: try again, and report id 'given-id'"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "said", "status", "line"), WORDS, ids=[words[1][:30] for words in WORDS])
def test_what_clients_hear_of_failures(
    tmp_path: Path, code: grpc.StatusCode, said: str, status: str, line: str
) -> None:
    async def fails(_request: Any, context: Any) -> Any:
        await context.abort(code, said)

    async def work() -> None:
        async with served(tmp_path, fails) as (_, _triton, address):
            assert await refusal(address, GOOD) == (status, line)

    run(work())


STREAMED = [
    ("in ensemble 'vico_stream', concept: no concept 'x'; accepted: y [NOT_FOUND]", "NOT_FOUND",
     "concept: no concept 'x'; accepted: y"),
    ("[request id: given-id] in ensemble 'vico_stream', steps: 0; accepted: 1 to 9 [INVALID_ARGUMENT]",
     "INVALID_ARGUMENT", "steps: 0; accepted: 1 to 9"),
    ("num_images: full; accepted: fewer [RESOURCE_EXHAUSTED]", "UNAVAILABLE",
     "num_images: full; accepted: fewer [RESOURCE_EXHAUSTED]"),
    ("request: the server is shutting down; accepted: the same request later [UNAVAILABLE]", "UNAVAILABLE",
     "request: the server is shutting down; accepted: the same request later"),
    ("request: failed inside the server; accepted: try again, and report id 'i'", "INTERNAL",
     "request: failed inside the server; accepted: try again, and report id 'i'"),
    ("Stub process 'text_encoder_0_0' is not healthy.", "UNAVAILABLE",
     "request: the server could not finish it; accepted: the same request later"),
    ("/opt/x.py: Traceback", "INTERNAL",
     "request: failed inside the server; accepted: try again, and report id 'given-id'"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "status", "line"), STREAMED, ids=[words[1] + words[0][:9] for words in STREAMED])
def test_a_stream_ends_with_the_status_that_a_unary_call_has(tmp_path: Path, said: str, status: str, line: str) -> None:
    """Triton's text of it has none, and is asked for no other form: see `serving.front.answer.stream_error`."""

    async def work() -> None:
        async with served(tmp_path) as (_, triton, address), grpc.aio.insecure_channel(address) as channel:
            triton.stream_error = said
            stream = channel.stream_stream(SERVICE + "ModelStreamInfer")()
            await stream.write(GOOD)
            for _ in range(2):
                assert await stream.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert (caught.value.code().name, caught.value.details()) == (status, line)
            assert not triton.told, "it has ended, and nobody is to be told"
            assert not {"triton_grpc_error"} & triton.headers[-1].keys()
            assert triton.seen[0].parameters[NESTED].bool_param, "whatever model it is"

    run(work())


def test_a_fault_of_the_door_itself_tells_an_id_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    async def work() -> None:
        async with served(tmp_path) as (door, _, address):
            monkeypatch.setattr(door, "_passed_on", broken)
            status, details = await refusal(address, GOOD)
            assert status == "INTERNAL"
            assert details == "request: failed inside the server; accepted: try again, and report id 'given-id'"

    run(work())


class Slow:
    """Answers when told to."""

    def __init__(self) -> None:
        self.go, self.began, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request: Any, _context: Any) -> Any:
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        return answer_to(request)


@pytest.mark.parametrize("how", ["cancels", "vanishes", "deadline", "dropped"])
def test_the_loop_is_told_of_a_call_that_nobody_waits_for(tmp_path: Path, how: str) -> None:
    async def work() -> None:
        slow = Slow()
        async with served(tmp_path, slow) as (door, triton, address):
            channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            asked = channel.unary_unary(SERVICE + "ModelInfer")(GOOD, timeout=1.0 if how == "deadline" else None)
            await slow.began.wait()
            if how == "cancels":
                asked.cancel()
            elif how == "vanishes":
                await channel.close()
            elif how == "dropped":
                door.shut(drop=True)
                with pytest.raises(grpc.aio.AioRpcError, match="a part of the server that it needed has died"):
                    await asked
            while not triton.told:
                await asyncio.sleep(0.01)
            slow.go.set()
            await slow.ended.wait()
            await channel.close()
            [told] = triton.told
            assert door.gate.inside == 0
            assert '"cancel": "' in told
            assert "given-id" not in told, "the client's own id may be another client's too"

    run(work())


def test_a_refusal_is_no_news_for_the_loop(tmp_path: Path) -> None:
    async def full(_request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "in ensemble 'vico', num_images: full; accepted: fewer")

    async def work() -> None:
        async with served(tmp_path, full) as (_, triton, address):
            assert (await refusal(address, GOOD))[1] == "num_images: full; accepted: fewer"
            assert not triton.told

    run(work())


def test_a_drain_waits_for_whom_it_can_and_tells_the_others(tmp_path: Path) -> None:
    async def work(answered: bool) -> None:
        slow = Slow()
        async with served(tmp_path, slow) as (door, _, address):
            asked = asyncio.create_task(call(address, GOOD))
            await slow.began.wait()
            draining = asyncio.create_task(door.drain(60.0 if answered else 0.2))
            while not door.gate.closing:
                await asyncio.sleep(0.01)
            assert (await refusal(address, GOOD))[1].startswith("request: the server is shutting down")
            assert await call(address, b"", HEALTH) == b"\x08\x02"
            if answered:
                slow.go.set()
                assert await asked
            else:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asked
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await draining

    for answered in (True, False):
        run(work(answered))


def test_a_stream_serves_one_request_after_the_other_and_ends_in_our_words(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address), grpc.aio.insecure_channel(address) as channel:
            stream = channel.stream_stream(SERVICE + "ModelStreamInfer")()
            for _ in range(2):
                await stream.write(GOOD)
                answers = [pb.ModelStreamInferResponse.FromString(await stream.read()) for _ in range(2)]
                assert [answer.infer_response.id for answer in answers] == ["given-id", "given-id"]
            assert len(triton.seen) == 2
            await stream.write(request_of(prompt=b"").SerializeToString())
            with pytest.raises(grpc.aio.AioRpcError, match="prompt: content that does not fit"):
                await stream.read()

    run(work())


def test_limits_hold_before_our_code_sees_anything(tmp_path: Path) -> None:
    async def work() -> None:
        limits = Limits(message_bytes=4096, metadata_bytes=1024, calls_per_client=1)
        slow = Slow()
        async with served(tmp_path, slow, limits=limits) as (_, triton, address):
            status, _ = await refusal(address, request_of(prompt=text(b"a" * 5000)).SerializeToString())
            assert status == "RESOURCE_EXHAUSTED"
            status, _ = await refusal(address, GOOD, metadata=[("x", "y" * 4000)])
            assert status in {"RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE"}
            assert not triton.seen
            asked = asyncio.create_task(call(address, GOOD))
            await slow.began.wait()
            status, details = await refusal(address, GOOD)
            assert (status, details) == (
                "RESOURCE_EXHAUSTED", "request: 1 of this client are under way; accepted: fewer at once"
            )  # fmt: skip
            slow.go.set()
            assert await asked

    run(work())


def test_connections_are_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path, limits=Limits(connections=3)) as (_, _triton, address):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(6)]
            reached = 0
            for channel in channels:
                try:
                    await channel.unary_unary(HEALTH)(b"", timeout=3)
                    reached += 1
                except grpc.aio.AioRpcError:
                    continue
            for channel in channels:
                await channel.close()
            assert 1 <= reached <= 3

    run(work())


def test_the_users_of_an_application_travel_sealed(tmp_path: Path) -> None:
    keys, user = tmp_path / "keys.json", "0123456789abcdef" * 2
    names = ("app", "shop")
    write_keys(keys, [Key(client=name, tenant="acme", sha256=hashed(name), users=name == "app") for name in names])

    async def work() -> None:
        async with served(tmp_path, keys=str(keys)) as (_, triton, address):
            for name in names:
                header = [("authorization", f"Bearer {name}"), (USER_HEADER, user)]
                assert await call(address, GOOD, metadata=header)
        sealed = [seen.raw_input_contents[1] for seen in triton.seen]
        assert f'"client": "app:{user}"'.encode() in sealed[0]
        assert b'"client": "shop"' in sealed[1]

    run(work())


def test_connections_are_renewed_and_calls_under_way_go_on(tmp_path: Path) -> None:
    async def work() -> None:
        slow = Slow()
        async with served(tmp_path, slow, limits=Limits(connection_seconds=1.0)) as (_, _triton, address):
            asked = asyncio.create_task(call(address, GOOD))
            await slow.began.wait()
            assert await asyncio.to_thread(told_to_go, address, 60.0)
            slow.go.set()
            assert await asked, "its connection is as old"

    run(work())


def test_connections_may_stay() -> None:
    ages = {seconds: dict(server_options(Limits(connection_seconds=seconds))) for seconds in (0.0, 60.0)}
    assert ages[60.0]["grpc.max_connection_age_ms"] == 60_000
    assert ages[0.0]["grpc.max_connection_age_ms"] == 2**31 - 1
    assert all("grpc.max_connection_age_grace_ms" not in options for options in ages.values()), "no call is cut"


def test_keys_are_asked_for_before_the_message_is_read(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, [Key(client="shop", tenant="acme", sha256=hashed("one"), concepts=("hen",))])

    async def work() -> None:
        async with served(tmp_path, keys=str(keys)) as (_, triton, address):
            questions = ("ServerLive", "ServerMetadata", "ModelMetadata", "ModelConfig")
            for method in ("ModelInfer", *questions, "ModelStreamInfer"):
                for header in ([], [("authorization", "Bearer two")]):
                    assert (await refusal(address, b"\xff" * 100, method, metadata=header))[0] == "UNAUTHENTICATED"
            assert await call(address, b"", HEALTH) == b"\x08\x01", "probes show no key"
            assert await call(address, GOOD, metadata=[("authorization", "Bearer one")])
            [sealed] = triton.seen[0].raw_input_contents[1:]
            assert b'"client": "shop", "tenant": "acme", "concepts": ["hen"]' in sealed
            write_keys(keys, [])
            assert (await refusal(address, GOOD, metadata=[("authorization", "Bearer one")]))[0] == "UNAUTHENTICATED"

    run(work())


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, _triton, address):
            port = int(address.rpartition(":")[2])
            with pytest.raises(LaunchError, match=f"grpc_port: 127.0.0.1:{port} cannot be listened to"):
                await Door(FrontConfig(Private("/x", "y"), "z", port=port)).start()

    run(work())


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_what_cannot_be_done_in_time_never_reaches_triton(tmp_path: Path, method: str) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> Overloaded | None:
        asked.append(question)
        return Overloaded("timeout", "too little", "more") if question.fields.get("steps") == 50 else None

    def asking(steps: int, timeout: int) -> bytes:
        request = request_of(prompt=text(b"a dog"), steps=struct.pack("<i", steps))
        if timeout:
            request.parameters["timeout"].int64_param = timeout
        content: bytes = request.SerializeToString()
        return content

    async def work() -> None:
        async with served(tmp_path, foresight=str(tmp_path / "f")) as (_, triton, address):
            before = time.monotonic()
            assert await refusal(address, asking(50, 2_000_000), method) == (
                "UNAVAILABLE",
                "timeout: too little; accepted: more [RESOURCE_EXHAUSTED]",
            )
            assert not triton.seen
            assert before + 1.9 < asked[0].deadline_at < time.monotonic() + 2.0
            if method == "ModelInfer":
                await call(address, asking(3, 2_000_000))
                assert [question.fields for question in asked] == [{"steps": 50}, {"steps": 3}]
                assert len(triton.seen) == 1
            assert asked[0].reading is None

    thread = Answering(tmp_path / "f", answer)
    try:
        run(work())
    finally:
        thread.close()


@pytest.mark.parametrize(
    ("named", "given", "whole"),
    [
        ((), ("images", "info"), True),
        (("info",), ("info",), True),
        ((), (), False),
        (("images", "info"), ("images",), False),
    ],
)
def test_an_answer_without_what_was_asked_for_is_asked_again(
    tmp_path: Path, named: tuple[str, ...], given: tuple[str, ...], whole: bool
) -> None:
    """A stage that died with the answer in its hands: the client must hear something that it retries."""

    async def infer(request: Any, _context: Any) -> Any:
        answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name in given:
            answer.outputs.add(name=name, datatype="BYTES", shape=[0])
        return answer

    request = request_of(prompt=text(b"a dog"))
    for name in named:
        request.outputs.add(name=name)

    async def work() -> None:
        async with served(tmp_path, infer) as (_, _, address):
            if whole:
                answer = pb.ModelInferResponse.FromString(await call(address, request.SerializeToString()))
                assert [output.name for output in answer.outputs] == list(given)
            else:
                status, line = await refusal(address, request.SerializeToString())
                assert status == "UNAVAILABLE"
                assert line.startswith("request: a part of the server")

    run(work())


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_what_a_client_has_left_runs_to_its_end(tmp_path: Path, method: str) -> None:
    """Triton is told by way of the loop, and never cancelled: it may die of that while it answers."""
    slow = Slow()

    async def work() -> None:
        async with served(tmp_path, slow) as (door, triton, address), grpc.aio.insecure_channel(address) as channel:
            if method == "ModelInfer":
                asked = channel.unary_unary(SERVICE + method)(GOOD)
            else:
                asked = channel.stream_stream(SERVICE + method)(iter([GOOD]))
            await slow.began.wait()
            asked.cancel()
            async with asyncio.timeout(60):
                while not triton.told:
                    await asyncio.sleep(0.01)
                assert not slow.ended.is_set(), "it goes on"
                slow.go.set()
                await slow.ended.wait()
                while door.upstream._flights._flights:
                    await asyncio.sleep(0.01)
            assert json.loads(triton.told[0]).keys() == {"cancel"}

    run(work())
