"""The safety checker: what it says counts on every path, and what it did not see is not shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from test_serving_request import parse, text
from test_serving_stages import SEAL, Server, info_of
from test_stream_stage import Client, Streams

from serving.config import VARIABLE, ServingConfig
from serving.errors import LaunchError
from serving.outputs.checker import SafetyChecker
from serving.outputs.config import Answer, CheckerConfig, OutputsConfig
from serving.outputs.encoding import Pixels
from serving.outputs.finish import Finisher
from serving.outputs.previews import PreviewGuard
from serving.outputs.verdict import Unchecked, UnsafePicture, Verdict, shown
from serving.stages.picture_stream import PictureStreamStage, open_picture_stream
from serving.stages.vae_decoder import VaeDecoderStage

HERE = str(Path(__file__).parent)
FACTS: dict[str, object] = {"prompt": "", "kind": "picture", "first_image": 0}
BRIGHT, DARK = (np.full((8, 8, 3), level, np.uint8) for level in (200, 20))
MakeChecker = Callable[..., SafetyChecker]


def config(function: str, seconds: float = 60.0) -> CheckerConfig:
    return CheckerConfig(f"checkers:{function}", seconds=seconds, python_path=HERE)


@pytest.fixture
def checker() -> Iterator[MakeChecker]:
    """Checkers by the name of their function; ended after the test."""
    made: list[SafetyChecker] = []

    def make(function: str, **options: Any) -> SafetyChecker:
        made.append(SafetyChecker(config(function, **options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_sees_the_pixels_and_judges_each(checker: MakeChecker) -> None:
    judge = checker("by_brightness").judge
    assert judge([DARK, BRIGHT, DARK], FACTS) == [Verdict.ALLOW, Verdict.REFUSE, Verdict.ALLOW]
    large = np.full((1024, 1024, 3), 200, np.uint8)
    assert judge([large] * 8, FACTS) == [Verdict.REFUSE] * 8, "larger than any socket's buffer"


@pytest.mark.parametrize("how", ["raise", "exit", "die", "short", "odd", "nothing", "close"])
def test_a_checker_that_fails_shows_nothing_and_the_next_picture_is_checked_again(
    checker: MakeChecker, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    safety = checker("misbehave")
    with pytest.raises(Unchecked, match="images: they could not be checked for safety") as refusal:
        safety.judge([DARK], FACTS | {"prompt": how})
    assert "secret" not in str(refusal.value)
    assert caplog.records
    assert safety.judge([DARK], FACTS) == [Verdict.ALLOW]


def test_a_checker_that_hangs_is_ended(checker: MakeChecker) -> None:
    safety = checker("misbehave", seconds=3.0)
    hung = safety._process
    assert hung is not None
    with pytest.raises(Unchecked):
        safety.judge([np.zeros((1024, 1024, 3), np.uint8)] * 8, FACTS | {"prompt": "hang"})
    assert hung.poll() is not None
    safety._config = config("misbehave")
    assert safety.judge([DARK], FACTS) == [Verdict.ALLOW]


def test_a_late_answer_is_nobody_elses(checker: MakeChecker) -> None:
    """After a failure the next question never meets the answer to the last one."""
    safety = checker("by_brightness")
    safety._config = config("by_brightness", seconds=0.0)
    with pytest.raises(Unchecked):
        safety.judge([DARK], FACTS)
    safety._config = config("by_brightness")
    assert safety.judge([BRIGHT], FACTS) == [Verdict.REFUSE]


def test_the_servers_secret_is_not_in_its_sight(checker: MakeChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "secret")
    assert checker("misbehave").judge([DARK], FACTS | {"prompt": "environment"}) == [Verdict.ALLOW]


@pytest.mark.parametrize("target", ["checkers:none", "no_such_module:x", "checkers", "no-such-entry", ""])
def test_a_checker_that_cannot_be_loaded_stops_the_start(target: str) -> None:
    with pytest.raises(LaunchError, match="safety_checker: it cannot be loaded"):
        SafetyChecker(CheckerConfig(target, python_path=HERE))
    with pytest.raises(LaunchError, match="safety_checker"):
        SafetyChecker(CheckerConfig("checkers:by_kind", python=f"{sys.executable}-none"))


def test_what_is_not_callable_never_allows(checker: MakeChecker) -> None:
    with pytest.raises(Unchecked):
        checker("NOT_A_FUNCTION").judge([DARK], FACTS)


def test_what_is_shown() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    assert shown(picture, Verdict.ALLOW) is picture
    assert not shown(picture, Verdict.REFUSE).any()
    blurred = shown(picture, Verdict.BLUR)
    assert blurred.shape == picture.shape
    assert blurred.std() < picture.std() / 5


# --- every path to a picture ---


def guarded(server: Server, checker: SafetyChecker, answer: Answer = Answer.BLANK) -> Server:
    server.decoder = VaeDecoderStage(server.vae, 8, SEAL, Finisher(checker, answer))
    return server


def opened(file: bytes, output_format: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(file, np.uint8) if output_format == "raw" else np.asarray(Image.open(io.BytesIO(file)))


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp", "raw"])
def test_refused_pictures_are_blank_in_every_format(tmp_path: Path, checker: MakeChecker, output_format: str) -> None:
    server = guarded(Server(tmp_path), checker("by_prompt"))
    fields = {"num_images": 3, "steps": 2, "output_format": output_format}
    (tmp_path / "free").mkdir()
    free = Server(tmp_path / "free").tensors(prompt="refuse 1", **fields)
    tensors = server.tensors(prompt="refuse 1", **fields)
    assert tensors["images"][0] == free["images"][0]
    assert opened(free["images"][1], output_format).max() > 8
    assert opened(tensors["images"][1], output_format).max() <= 8, "but for what a lossy format makes of black"
    assert tensors["images"][2] == free["images"][2]
    assert info_of(tensors)["warnings"] == [
        {"code": "safety", "message": "picture 1: refused by the safety checker, and blank"}
    ]


def test_a_refusal_may_be_an_error(tmp_path: Path, checker: MakeChecker) -> None:
    server = guarded(Server(tmp_path), checker("by_prompt"), Answer.ERROR)
    with pytest.raises(UnsafePicture, match=r"^images: picture 1 is refused by the safety checker; accepted: another"):
        server.tensors(prompt="refuse 1", num_images=2, steps=1)
    assert len(server.tensors(prompt="blur 1", num_images=2, steps=1)["images"]) == 2


def test_a_failing_checker_fails_the_request(tmp_path: Path, checker: MakeChecker) -> None:
    server = guarded(Server(tmp_path), checker("misbehave"))
    with pytest.raises(Unchecked):
        server.tensors(prompt="raise", steps=1)
    assert server.tensors(prompt="a", steps=1)["images"].size == 1


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[Streams]:
    streams = Streams(tmp_path, Server(tmp_path))
    yield streams
    streams.server.loop.close()
    streams.stage.close()


def guard_streams(streams: Streams, checker: SafetyChecker, answer: Answer = Answer.BLANK) -> None:
    guarded(streams.server, checker, answer)
    letters = streams.stage._letters
    streams.stage = PictureStreamStage(
        SEAL, letters, streams.loop, streams.decoder, PreviewGuard(checker), all_or_none=answer is Answer.ERROR
    )


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_stream_shows_what_the_unary_call_shows(
    streams: Streams, checker: MakeChecker, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Also where it has its pictures decoded in parts: the numbers are those of the client's request."""
    monkeypatch.setattr("serving.decoding.ROW_PIXELS", rows * 32 * 32)
    guard_streams(streams, checker("by_prompt"))
    fields: dict[str, Any] = {"prompt": "refuse 3 blur 1", "num_images": 5, "steps": 2}
    unary = streams.server.tensors(**fields)
    client = streams.run(**fields)
    assert client.images() == list(unary["images"])
    assert not opened(client.images()[3], "png").any()
    warnings = json.loads(client.responses[-1]["info"][0])["warnings"]
    assert warnings == info_of(unary)["warnings"]
    assert [warning["message"][:9] for warning in warnings] == ["picture 1", "picture 3"]


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_streams_refusal_may_be_an_error(
    streams: Streams, checker: MakeChecker, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Then no picture is shown, also of those that were decoded before the one that is refused."""
    monkeypatch.setattr("serving.decoding.ROW_PIXELS", rows * 32 * 32)
    guard_streams(streams, checker("by_prompt"), Answer.ERROR)
    client = Client()
    with pytest.raises(UnsafePicture, match="picture 4"):
        streams.run(client, prompt="refuse 4", num_images=5, steps=1)
    assert not client.images()
    allowed = streams.run(prompt="a", num_images=5, steps=1)
    assert len(allowed.images()) == 5


@pytest.mark.parametrize("answer", list(Answer))
def test_the_operator_decides_whether_a_stream_shows_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr("serving.stages.picture_stream.SafetyChecker", lambda _: None)
    outputs = OutputsConfig(replace(config("by_prompt"), answer=answer))
    server = ServingConfig(tmp_path, tmp_path, tmp_path / "store", secret="0" * 64, outputs=outputs)
    stage = open_picture_stream(server, *[lambda tensors, wanted: {}] * 2)
    stage.close()
    assert stage._all_or_none == (answer is Answer.ERROR)


def previews(client: Client) -> list[Pixels]:
    return [opened(file, "jpeg") for response in client.responses for file in response["preview"] if file]


def run_until_seen(streams: Streams, prompt: str) -> Client:
    """The loop waits before its last steps until the client has a preview: no letter is lost to haste."""
    came, denoiser = Event(), streams.server.denoiser
    run = denoiser.run

    def patient(feeds: Any) -> Any:
        if len(denoiser.batches) == 2:
            assert came.wait(60)
        return run(feeds)

    denoiser.run = patient  # type: ignore[method-assign]
    client = Client(lambda _: came.set() if any(client.responses[-1]["preview"]) else None)
    streams.run(client, prompt=prompt, steps=4, num_images=2)
    assert came.is_set()
    return client


def test_previews_pass_it_too(streams: Streams, checker: MakeChecker) -> None:
    guard_streams(streams, checker("by_kind"))
    client = run_until_seen(streams, "no preview of this")
    assert client.kinds()[0] == "progress"
    assert previews(client)
    assert all(preview.max() <= 8 for preview in previews(client))
    assert opened(client.images()[0], "png").any(), "the pictures themselves are allowed"


def test_allowed_previews_are_shown(streams: Streams, checker: MakeChecker) -> None:
    guard_streams(streams, checker("by_kind"))
    assert any(preview.max() > 8 for preview in previews(run_until_seen(streams, "a")))


def test_previews_that_could_not_be_checked_are_black(checker: MakeChecker) -> None:
    guard = PreviewGuard(checker("misbehave"))
    for prompt, brightest in (("raise", 0), ("a", 200)):
        bright, none, dark = guard(parse(prompt=text(prompt)), [BRIGHT, None, DARK])
        assert bright is not None
        assert dark is not None
        assert none is None
        assert bright.max() == brightest
        assert dark.shape == DARK.shape


def test_without_a_checker_all_is_shown() -> None:
    assert PreviewGuard()(parse(), [BRIGHT, None])[0] is BRIGHT
