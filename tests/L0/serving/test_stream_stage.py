"""The stage of the streams over the other stages in one process, and its adapter before a fake Triton."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_serving_adapter import PB, FakeRequest, FakeTensor
from test_serving_calls import control
from test_serving_stages import CALLER, SEAL, Server, _array

from serving.calls import CallCancelled
from serving.errors import (
    ConceptRefused,
    DeadlineExceeded,
    InvalidField,
    Overloaded,
    Relayed,
    ServingError,
    Status,
    to_wire,
)
from serving.fields import RawArray
from serving.loop import EngineLoop
from serving.seal import Seal
from serving.stages.picture_stream import PictureStreamStage
from serving.stages.unet_loop import UnetLoopStage
from serving.stream_adapter import StageCall, StageLost, StreamAdapter
from serving.streaming.letterbox import Letterbox
from serving.streaming.post import Post
from serving.streaming.preview import PreviewMap
from tests.helpers.concepts import make_concept
from vico.concept.preview import SD1_LATENT_TO_RGB

WAIT = 60.0


class Client:
    """Keeps what it is sent; may do something when it is."""

    def __init__(self, on: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self.responses: list[dict[str, list[bytes]]] = []
        self.gone = False
        self._on = on

    def send(self, outputs: Mapping[str, RawArray]) -> None:
        self.responses.append({name: list(array) for name, array in outputs.items()})
        self._on(self.events[-1])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(response["event"][0]) for response in self.responses]

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def images(self) -> list[bytes]:
        return [image for response in self.responses for image in response["images"]]


class Streams:
    """The stage of the streams, and the stages around it."""

    def __init__(self, path: Path, server: Server) -> None:
        self.server = server
        self.post = Post(path / "progress", PreviewMap(SD1_LATENT_TO_RGB))
        server.loop = UnetLoopStage(server.loop._graphset, EngineLoop(server.engine, 8), SEAL, self.post)
        self.asked: list[tuple[str, ...]] = []
        self.stage = PictureStreamStage(SEAL, Letterbox(path / "progress"), self.loop, self.decoder)

    def loop(self, inputs: Mapping[str, RawArray], outputs: Sequence[str]) -> dict[str, RawArray]:
        self.asked.append(tuple(outputs))
        found = self.server.loop(inputs)
        return {name: found[name] for name in outputs}

    def decoder(self, inputs: Mapping[str, RawArray], outputs: Sequence[str]) -> dict[str, RawArray]:
        found = self.server.decoder(inputs)
        return {name: found[name] for name in outputs}

    def before(self, **fields: Any) -> dict[str, RawArray]:
        """What the stage is handed."""
        tensors: dict[str, RawArray] = {"caller": CALLER} | {name: _array(value) for name, value in fields.items()}
        tensors |= self.server.text(tensors)
        return tensors | self.server.image(tensors)

    def run(self, client: Client | None = None, **fields: Any) -> Client:
        client = client or Client()
        self.stage.run(self.before(**fields), client)
        return client


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[Streams]:
    streams = Streams(tmp_path, Server(tmp_path))
    yield streams
    streams.server.loop.close()
    streams.stage.close()
    streams.server.engine.check_integrity()


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_the_pictures_are_those_of_the_unary_way(streams: Streams, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Also decoded in the same runs, as the real decoder may differ in a bit between runs of other sizes."""
    monkeypatch.setattr("serving.decoding.ROW_PIXELS", rows * 32 * 32)
    make_concept(streams.server.registry_folder, "toy")
    fields: dict[str, Any] = {"prompt": "a photo of *", "concept": "toy", "num_images": 5, "steps": 3}
    unary = streams.server.tensors(**fields)
    runs, streams.server.vae.batches = streams.server.vae.batches, []
    client = streams.run(**fields)
    assert client.images() == list(unary["images"])
    assert streams.server.vae.batches == runs
    info, expected = json.loads(client.responses[-1]["info"][0]), json.loads(unary["info"][0])
    assert info.keys() == expected.keys()
    assert info["concept"] == expected["concept"]
    assert set(info["timings"]) == set(expected["timings"])
    assert info["timings"]["vae_decoder"] > 0
    shown = client.kinds().index("image")
    assert client.kinds() == ["progress"] * shown + ["image"] * 5 + ["end"]
    assert client.events[shown + 2] == {"type": "image", "index": 2, "images": 5, "height": 32, "width": 32}


def test_progress_comes_while_the_loop_works(streams: Streams) -> None:
    """The loop waits for its third step until the client has seen progress."""
    seen, denoiser = Event(), streams.server.denoiser
    run = denoiser.run

    def patient(feeds: Any) -> Any:
        if len(denoiser.batches) == 2:
            assert seen.wait(WAIT)
        return run(feeds)

    denoiser.run = patient  # type: ignore[method-assign]
    client = streams.run(Client(lambda event: seen.set()), prompt="a", steps=4, num_images=2)
    first = client.events[0]
    assert first["type"] == "progress"
    assert first["done"] in ([1, 1], [2, 2])
    assert (first["step"], first["steps"]) == (first["done"][0], 4)
    previews = client.responses[0]["preview"]
    assert [Image.open(io.BytesIO(file)).size for file in previews] == [(64, 64)] * 2


def test_without_progress_nobody_is_told(streams: Streams) -> None:
    client = streams.run(prompt="a", steps=4, progress_every=0)
    assert client.kinds() == ["image", "end"]
    assert not streams.post._waiting


def test_a_unary_request_posts_nothing(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(streams.post, "put", lambda *letter: told.append(letter))
    streams.server.tensors(prompt="a", steps=3)
    assert not told
    streams.run(prompt="a", steps=3)
    assert len(told) == 3


def test_refusals_of_the_loop_reach_the_client(streams: Streams) -> None:
    go_on, denoiser = Event(), streams.server.denoiser
    run = denoiser.run
    denoiser.run = lambda feeds: run(feeds) if go_on.wait(WAIT) else {}  # type: ignore[method-assign]
    filling = streams.server.loop.begin(streams.before(prompt="a", steps=1, num_images=8))
    inputs = streams.before(prompt="a", steps=1, num_images=8)
    with pytest.raises(Overloaded, match="num_images: 8 pictures"):
        streams.stage.run(inputs, Client())
    go_on.set()
    assert filling.future.result(WAIT)


def test_a_client_that_went_is_spared_the_decoder(streams: Streams) -> None:
    client = Client()
    client.gone = True
    with pytest.raises(CallCancelled):
        streams.run(client, prompt="a", steps=1)
    # and one whose going only the door saw, after the loop was done with it
    decoded = len(streams.server.vae.batches)
    inputs = streams.before(prompt="a", steps=1, num_images=2)

    def loop(tensors: Mapping[str, RawArray], outputs: Sequence[str]) -> dict[str, RawArray]:
        found = streams.loop(tensors, outputs)
        streams.server.loop(control({"cancel": "call-1"}))
        return found

    stage = PictureStreamStage(SEAL, streams.stage._letters, loop, streams.decoder)
    with pytest.raises(CallCancelled):
        stage.run(inputs, Client())
    assert len(streams.server.vae.batches) == decoded


def test_a_request_that_nobody_sealed_is_refused(streams: Streams) -> None:
    inputs = streams.before(prompt="a", steps=1)
    inputs["request"][0] = Seal("another").close(SEAL.open(inputs["request"][0]))
    with pytest.raises(InvalidField, match="request: not sealed"):
        streams.stage.run(inputs, Client())


@pytest.mark.parametrize(
    "error",
    [
        InvalidField("x", "is [odd]", "even"),
        ConceptRefused("concept", "torn", "whole"),
        Overloaded("request", "full", "later"),
        DeadlineExceeded("timeout", "passed", "longer"),
        CallCancelled(),
    ],
)
def test_refusals_keep_their_status_from_model_to_model(error: ServingError) -> None:
    told = Relayed.from_message(to_wire(error, always_tagged=True).message)
    assert told is not None
    assert told.status is error.status
    assert to_wire(told) == to_wire(error)


@pytest.mark.parametrize(
    "message", ["", "Stub process is not healthy", "request: failed; accepted: again", "a: b; accepted: c [NONE]"]
)
def test_other_messages_are_no_refusals(message: str) -> None:
    assert Relayed.from_message(message) is None


class Sender:
    """A response sender; counts its ends."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.ended = Event()
        self.ends = 0

    def send(self, response: Any = None, flags: int = 0) -> None:
        assert not self.ends, "sent after the end"
        if response is not None:
            self.sent.append(response)
        if flags:
            self.ends += 1
            self.ended.set()

    def is_cancelled(self) -> bool:
        return False


class StreamRequest(FakeRequest):
    """A request that is answered through a sender."""

    def __init__(self, value: float) -> None:
        super().__init__([FakeTensor("x", np.array([value]))], "r1")
        self.sender = Sender()

    def get_response_sender(self) -> Sender:
        return self.sender


class FakeStage:
    """Counts up to `x`; negative numbers break it; 0 waits."""

    name = "picture_stream"

    def __init__(self) -> None:
        self.go_on = Event()

    def run(self, inputs: Mapping[str, RawArray], client: Any) -> None:
        x = int(inputs["x"][0])
        if x == 0:
            assert self.go_on.wait(WAIT)
        for number in range(x):
            client.send({"y": np.array([number])})
        if x == -1:
            raise InvalidField("x", "is negative", "more")
        if x == -2:
            raise StageLost("unet_loop", "/secret/path died")

    def close(self) -> None:
        """Nothing to do."""


def test_every_stream_is_ended_once_with_its_own_answers() -> None:
    adapter = StreamAdapter(PB, FakeStage())  # type: ignore[arg-type]
    asked = [StreamRequest(value) for value in (3, -1, -2, 1)]
    adapter.begin(asked)
    assert all(request.sender.ended.wait(WAIT) for request in asked)
    adapter.close()
    assert [request.sender.ends for request in asked] == [1] * 4
    assert [[int(one.output_tensors[0].as_numpy()[0]) for one in asked[k].sender.sent] for k in (0, 3)] == [
        [0, 1, 2],
        [0],
    ]
    [refused], [failed] = asked[1].sender.sent, asked[2].sender.sent
    assert refused.error.message == "x: is negative; accepted: more"
    assert refused.error.code == PB.TritonError.INVALID_ARG
    assert failed.error.code == PB.TritonError.INTERNAL
    assert "secret" not in failed.error.message
    late = StreamRequest(1)
    adapter.begin([late])
    assert "shutting down" in late.sender.sent[0].error.message


def test_streams_are_bounded_and_their_places_come_back() -> None:
    stage = FakeStage()
    adapter = StreamAdapter(PB, stage, max_streams=2)  # type: ignore[arg-type]
    asked = [StreamRequest(0) for _ in range(3)]
    adapter.begin(asked)
    assert asked[2].sender.ended.wait(WAIT)
    assert asked[2].sender.sent[0].error.message.startswith("request: 2 streams are under way; accepted: ")
    assert not asked[0].sender.ended.is_set()
    stage.go_on.set()
    assert all(request.sender.ended.wait(WAIT) for request in asked)
    with ThreadPoolExecutor(1) as pool:
        # a place comes back a moment after its stream has ended
        def served() -> bool:
            again = StreamRequest(1)
            adapter.begin([again])
            assert again.sender.ended.wait(WAIT)
            return again.sender.sent[0].error is None

        assert pool.submit(lambda: any(served() for _ in range(1000))).result(WAIT)
    adapter.close()


def stage_call(message: str | None) -> tuple[StageCall, list[Any]]:
    """A call of a stage that answers, or refuses."""
    made: list[Any] = []

    class Request:
        def __init__(self, **arguments: Any) -> None:
            made.append(arguments)

        def exec(self) -> Any:
            error = None if message is None else SimpleNamespace(message=lambda: message)
            tensors = [FakeTensor("y", np.array([2.0]))]
            return SimpleNamespace(
                has_error=lambda: error is not None, error=lambda: error, output_tensors=lambda: tensors
            )

    return StageCall(SimpleNamespace(Tensor=FakeTensor, InferenceRequest=Request), "unet_loop"), made


def test_another_stage_is_called_as_one_of_ours() -> None:
    call, made = stage_call(None)
    assert call({"x": np.array([1.0])}, ("y",))["y"].tolist() == [2.0]
    assert made[0]["model_name"] == "unet_loop"
    assert made[0]["requested_output_names"] == ["y"]
    # the stage called tags every status then
    request = FakeRequest([FakeTensor("x", np.array([-1.0]))], said=json.dumps(made[0]["parameters"]))
    from test_serving_adapter import FakeStage as Refusing

    from serving.triton_adapter import TritonAdapter

    [answer] = TritonAdapter(PB, Refusing()).execute([request])
    assert answer.error.message == "x: is negative; accepted: more [INVALID_ARGUMENT]"


def test_what_another_stage_refuses_is_told_and_what_kills_it_is_not() -> None:
    with pytest.raises(Relayed, match="x: odd; accepted: even") as caught:
        stage_call("x: odd; accepted: even [NOT_FOUND]")[0]({}, ())
    assert caught.value.status is Status.NOT_FOUND
    with pytest.raises(StageLost):
        stage_call("Failed to process the request(s), message: Stub process 'x' is not healthy.")[0]({}, ())
