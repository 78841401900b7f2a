"""`stream` of both clients against a server in this process: events, errors, ends, cancelling, beginning anew."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from fake_vico_server import bytes_tensor, info_of, picture
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from vico_client import (
    AsyncClient,
    Cancelled,
    Client,
    GenerateInfo,
    Overloaded,
    Picture,
    Preview,
    Progress,
    Retry,
    ServerError,
    Unavailable,
    VicoWarning,
)

Answers = Callable[[Any, Any], Iterator[Any]]
NO_RETRY = Retry(attempts=1)


def response(event: dict[str, Any], preview: Sequence[bytes] = (), images: Sequence[bytes] = (), info: str = "") -> Any:
    """A ModelStreamInferResponse as the server sends it."""
    message = service_pb2.ModelStreamInferResponse()
    tensors = {"event": [json.dumps(event).encode()], "preview": preview, "images": images,
               "info": [info.encode()] if info else []}  # fmt: skip
    for name, elements in tensors.items():
        message.infer_response.outputs.add(name=name, datatype="BYTES", shape=[len(elements)])
        message.infer_response.raw_output_contents.append(bytes_tensor(elements))
    return message


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG")
    return file.getvalue()


def progress(step: int, pictures: int = 2, seconds: float | None = 1.5) -> Any:
    event = {"type": "progress", "step": step, "steps": 4, "done": [step] + [0] * (pictures - 1)}
    return response(event | {"seconds_left": seconds}, [jpeg()] + [b""] * (pictures - 1))


def image(index: int, output_format: str = "png") -> Any:
    event = {"type": "image", "index": index, "images": 2, "height": 24, "width": 16}
    return response(event, images=[picture(output_format, 16, 24)])


def end(**changes: Any) -> Any:
    return response({"type": "end"}, info=json.dumps(info_of({}, **changes)))


def whole(_request: Any, _context: Any) -> Iterator[Any]:
    yield progress(1, seconds=None)
    yield progress(3)
    yield response({"type": "of a newer server"})
    yield image(0)
    yield image(1)
    yield end()


class StreamServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers with the next of `scripts`, the last one again and again."""

    def __init__(self, *scripts: Answers) -> None:
        self.scripts = list(scripts)
        self.requests: list[Any] = []
        self.gone = threading.Event()
        self.address = ""

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's name
        context.add_callback(self.gone.set)
        request = next(requests)
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        yield from script(request, context)


@contextmanager
def served(*scripts: Answers) -> Iterator[StreamServer]:
    server = StreamServer(*scripts)
    grpc_server = grpc.server(futures.ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(server, grpc_server)
    server.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    grpc_server.start()
    try:
        yield server
    finally:
        grpc_server.stop(None)


Outcome = tuple[list[Any], "GenerateInfo | None"]


def blocking(address: str, retry: Retry = NO_RETRY, **options: Any) -> Outcome:
    with Client(address, retry=retry) as client, client.stream("a", num_images=2, **options) as stream:
        return list(stream), stream.info


def asynchronous(address: str, retry: Retry = NO_RETRY, **options: Any) -> Outcome:
    async def main() -> Outcome:
        async with (
            AsyncClient(address, retry=retry) as client,
            client.stream("a", num_images=2, **options) as stream,
        ):
            return [event async for event in stream], stream.info

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("run", [blocking, asynchronous])


@BOTH
def test_what_a_stream_brings(run: Callable[..., Outcome]) -> None:
    with served(whole) as server:
        events, info = run(server.address, progress_every=2, timeout=5, steps=4, request_id="mine")
    first, shown, second, _, *pictures = events
    assert first == Progress(1, 4, (1, 0), None)
    assert second == Progress(3, 4, (3, 0), 1.5)
    assert second.fraction == 3 / 8
    assert isinstance(shown, Preview)
    assert (shown.index, shown.step, shown.image.size) == (0, 1, (64, 48))
    assert all(isinstance(one, Picture) for one in pictures)
    assert [(one.index, one.image.size) for one in pictures] == [(0, (16, 24)), (1, (16, 24))]
    assert bytes(pictures[0].file) == picture("png", 16, 24)
    assert info is not None
    assert info.steps == 25
    [request] = server.requests
    assert (request.model_name, request.id) == ("vico_stream", "mine")
    assert 4_000_000 < request.parameters["timeout"].int64_param <= 5_000_000
    sent = {tensor.name: content for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True)}
    assert sent["progress_every"] == (2).to_bytes(4, "little")


@BOTH
def test_raw_pictures_have_the_size_that_they_come_with(run: Callable[..., Outcome]) -> None:
    def raw(_request: Any, _context: Any) -> Iterator[Any]:
        yield from (image(0, "raw"), image(1, "raw"), end())

    with served(raw) as server:
        events, _ = run(server.address, output_format="raw")
    assert [event.image.size for event in events] == [(16, 24)] * 2


@BOTH
def test_warnings_are_repeated_at_the_end(run: Callable[..., Outcome]) -> None:
    def warns(_request: Any, _context: Any) -> Iterator[Any]:
        yield from (image(0), image(1), end(warnings=[{"code": "prompt_truncated", "message": "prompt: long"}]))

    with served(warns) as server, pytest.warns(VicoWarning, match="prompt: long"):
        run(server.address)


def fails(status: grpc.StatusCode, line: str, *before: Any) -> Answers:
    def script(_request: Any, context: Any) -> Iterator[Any]:
        yield from before
        context.abort(status, line)

    return script


@BOTH
def test_an_error_has_its_type_wherever_it_comes(run: Callable[..., Outcome]) -> None:
    full = "request: 96 streams are under way; accepted: the same request later [RESOURCE_EXHAUSTED]"
    for before in ([], [progress(1)], [progress(1), image(0)]):
        with served(fails(grpc.StatusCode.UNAVAILABLE, full, *before)) as server, pytest.raises(Overloaded) as caught:
            run(server.address)
        assert caught.value.problem == "96 streams are under way"


@BOTH
def test_a_lost_stream_begins_anew_and_gives_no_picture_twice(run: Callable[..., Outcome]) -> None:
    lost = fails(
        grpc.StatusCode.UNAVAILABLE, "request: a part died; accepted: the same request later", progress(3), image(0)
    )
    with served(lost, whole) as server:
        events, info = run(server.address, retry=Retry())
    assert [event.index for event in events if isinstance(event, Picture)] == [0, 1]
    assert [event.step for event in events if isinstance(event, Progress)] == [3, 1, 3]
    assert info is not None
    assert len({request.id for request in server.requests}) == 1
    assert len(server.requests) == 2
    assert server.requests[0].raw_input_contents == server.requests[1].raw_input_contents, "the same seed"
    with served(lost) as server, pytest.raises(Unavailable):
        run(server.address)


@BOTH
@pytest.mark.parametrize(
    "answers",
    [
        [],
        [progress(1)],
        [image(0), end()],
        [response({"type": "progress"})],
        [response({"type": "image", "index": 0})],
        [response({})],
        [service_pb2.ModelStreamInferResponse(error_message="x")],
        [service_pb2.ModelStreamInferResponse()],
    ],
    ids=["nothing", "no end", "a picture short", "progress", "image", "event", "error text", "empty"],
)
def test_nonsense_is_a_server_error(run: Callable[..., Outcome], answers: list[Any]) -> None:
    def script(_request: Any, _context: Any) -> Iterator[Any]:
        yield from answers

    with served(script) as server, pytest.raises(ServerError, match="malformed answer"):
        run(server.address)


def waits(_request: Any, context: Any) -> Iterator[Any]:
    yield progress(1)
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)


@pytest.mark.parametrize("how", ["cancel", "close", "leave", "close client"])
def test_whoever_stops_frees_the_server(how: str) -> None:
    with served(waits) as server, Client(server.address) as client:
        stream = client.stream("a")
        if how == "leave":
            with stream:
                assert isinstance(next(stream), Progress)
        else:
            next(stream)
            {"cancel": stream.cancel, "close": stream.close, "close client": client.close}[how]()
        assert server.gone.wait(60)
        if how in ("cancel", "close client"):
            with pytest.raises(Cancelled):
                list(stream)
        assert stream.info is None
        assert not client._under_way


@pytest.mark.parametrize("how", ["cancel", "close", "leave", "task"])
def test_whoever_stops_frees_the_server_with_asyncio_too(how: str) -> None:
    async def main(server: StreamServer) -> None:
        async with AsyncClient(server.address) as client:
            stream = client.stream("a")
            if how == "leave":
                async with stream:
                    assert isinstance(await stream.__anext__(), Progress)
            elif how == "close":
                await stream.__anext__()
                await stream.close()
            else:
                await stream.__anext__()
                await stream.__anext__()
                waiting = asyncio.ensure_future(stream.__anext__())
                await asyncio.sleep(0.05)
                _ = stream.cancel() if how == "cancel" else waiting.cancel()  # type: ignore[func-returns-value]
                with pytest.raises(Cancelled if how == "cancel" else asyncio.CancelledError):
                    await waiting
            assert await asyncio.to_thread(server.gone.wait, 60)

    with served(waits) as server:
        asyncio.run(main(server))


def test_another_thread_ends_a_stream_that_waits() -> None:
    with served(waits) as server, Client(server.address) as client, client.stream("a") as stream:
        next(stream)
        next(stream)
        threading.Timer(0.1, stream.cancel).start()
        with pytest.raises(Cancelled):
            next(stream)


def test_a_stream_that_nobody_reads_asks_for_nothing() -> None:
    with served(whole) as server, Client(server.address) as client:
        client.stream("a").close()
        client.stream("a")
        assert not client._under_way
        assert not server.requests
