"""The front door asks the loop whether a request can be done in time: the loop's own answer, at once, or none."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runners import GRAPHSET, Concepts, FakeDenoiser, make_engine, make_spec
from hypothesis import given
from hypothesis import strategies as st

from serving.deadline import Deadline
from serving.errors import Overloaded, ServingError, Status
from serving.foresight.answering import Answering
from serving.foresight.asking import Foresight
from serving.foresight.familiar import Familiar
from serving.foresight.question import FIELDS, MAX_BYTES, Question, Reading, Refusal, read_answer, refusal_of
from serving.lane import ConceptUse
from serving.loop import Asker, EngineLoop
from serving.seal import Seal
from serving.stages.unet_loop import UnetLoopStage

REFUSED = Overloaded("timeout", "0.10 s, and the earliest this can be done is 3.00 s from now", "at least 3.00 s")
QUESTION = Question({"steps": 25}, "somebody", 12.5)
values = {str: st.text(max_size=20), int: st.integers(-(2**31), 2**31 - 1), float: st.floats(width=32, allow_nan=False)}
readings = st.builds(Reading.of, st.text(max_size=64), st.text(max_size=1000), st.text(max_size=1000))
questions = st.builds(
    Question,
    st.fixed_dictionaries({}, optional={name: values[kind] for name, kind in FIELDS.items()}),
    st.text(max_size=40),
    st.floats(0, 1e9),
    readings,
)


@given(questions)
def test_a_question_arrives_as_it_was_asked(question: Question) -> None:
    arrived = Question.from_line(question.to_line())
    assert arrived == question
    assert len(question.to_line()) <= MAX_BYTES
    for name, array in arrived.raw().items():
        assert array.shape == (1,)
        value = array[0].decode() if FIELDS[name] is str else array[0]
        assert value == question.fields[name]


@given(st.sampled_from(Status), st.text(max_size=20), st.text(max_size=200), st.text(max_size=200))
def test_a_refusal_arrives_as_it_was_said(status: Status, field: str, problem: str, accepted: str) -> None:
    refusal = Refusal(status, field, problem, accepted)
    assert read_answer(refusal.to_line()) == refusal


@given(st.binary(max_size=60))
def test_no_line_does_harm(line: bytes) -> None:
    for read in (Question.from_line, read_answer):
        try:
            read(line)
        except ValueError:
            continue


@contextmanager
def answering(path: Path, answer: Callable[[Question], ServingError | None]) -> Iterator[None]:
    thread = Answering(path, answer)
    try:
        yield
    finally:
        thread.close()
        assert not path.exists()


def ask(path: Path | str, question: Question = QUESTION) -> Refusal | None:
    return asyncio.run(Foresight(str(path)).refusal(question))


def test_the_loops_answer_reaches_the_door(tmp_path: Path) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> ServingError | None:
        asked.append(question)
        return REFUSED if question.client else None

    with answering(tmp_path / "s", answer):
        assert ask(tmp_path / "s") == refusal_of(REFUSED)
        assert ask(tmp_path / "s", Question({}, "", 1.0)) is None
    assert asked == [QUESTION, Question({}, "", 1.0)]


def test_who_cannot_be_asked_stands_in_nobodys_way(tmp_path: Path) -> None:
    assert ask("") is None
    assert ask(tmp_path / "absent") is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        began = time.monotonic()
        assert ask(tmp_path / "silent") is None
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("line", [b"", b"nonsense\n", b"[1]\n", b'{"status": "FINE"}\n', b"x" * 9000 + b"\n"])
def test_an_answer_that_is_none_stands_in_nobodys_way(tmp_path: Path, line: bytes) -> None:
    with answering(tmp_path / "s", lambda question: None):
        pass

    async def work() -> Refusal | None:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(line)
            writer.close()

        async with await asyncio.start_unix_server(say, str(tmp_path / "s")):
            return await Foresight(str(tmp_path / "s")).refusal(QUESTION)

    assert asyncio.run(work()) is None


def test_a_bad_question_or_a_fault_harms_no_other(tmp_path: Path) -> None:
    def answer(question: Question) -> ServingError | None:
        if question.client == "fault":
            raise RuntimeError("broken")
        return REFUSED

    path = tmp_path / "s"
    with answering(path, answer):
        for line in (b"nonsense\n", b"\xff\n", b"{}\n", b""):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
                stranger.connect(str(path))
                stranger.sendall(line)
        assert ask(path, Question({}, "fault", 1.0)) is None
        assert ask(path) == refusal_of(REFUSED)


@pytest.fixture
def loop() -> Iterator[EngineLoop]:
    """One whose steps take ten milliseconds, and which has measured some."""

    class Slow(FakeDenoiser):
        def run(self, feeds: Any) -> Any:
            time.sleep(0.01)
            return super().run(feeds)

    loop = EngineLoop(make_engine(None, denoiser=Slow(), max_lanes=2), max_queue=8)
    loop.submit([make_spec(steps=8)], Deadline()).result(30)
    yield loop
    loop.close(5)


def test_asking_says_what_submitting_would_and_changes_nothing(loop: EngineLoop) -> None:
    soon = Deadline(time.monotonic() + 0.05)
    foreseen = loop.foresee([make_spec(steps=50)], soon)
    assert isinstance(foreseen, Overloaded)
    with pytest.raises(Overloaded) as caught:
        loop.submit([make_spec(steps=50)], soon)
    assert (caught.value.field, caught.value.status) == (foreseen.field, foreseen.status)
    assert loop.foresee([make_spec(steps=2)], Deadline(time.monotonic() + 60)) is None
    assert loop.foresee([make_spec(steps=2)] * 11, Deadline(time.monotonic() + 60)) is not None, "more than the queue"
    assert loop.pictures == 0
    loop.check_integrity()


def test_a_closing_loop_leaves_it_to_the_submission(loop: EngineLoop) -> None:
    loop.close(1)
    assert loop.foresee([make_spec(steps=50)], Deadline(time.monotonic() + 0.01)) is None


@pytest.mark.parametrize(
    ("fields", "seconds", "refused"),
    [
        ({"steps": 100}, 0.2, True),
        ({"steps": 1}, 60.0, False),
        ({"steps": 100, "num_images": 8}, 60.0, False),
        ({"preset": "fast"}, 0.02, True),
        ({"steps": 5000}, 0.01, False),
        ({"preset": "nonsense"}, 0.01, False),
        ({"num_images": -3}, 0.01, False),
    ],
    ids=["too many steps", "few", "many in time", "a preset", "wrong steps", "wrong preset", "wrong count"],
)
def test_the_stage_tells_by_the_fields(
    loop: EngineLoop, tmp_path: Path, fields: dict[str, Any], seconds: float, refused: bool
) -> None:
    stage = UnetLoopStage(GRAPHSET, loop, Seal("s"), foresight=tmp_path / "s")
    refusal = ask(tmp_path / "s", Question(fields, "", time.monotonic() + seconds))
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.status == "RESOURCE_EXHAUSTED"
        assert refusal.field == "timeout"
    assert stage.foresee(Question({}, "", np.inf)) is None
    assert stage._answering is not None
    stage._answering.close()


def use_of(seed: int = 0, **of: Any) -> ConceptUse:
    concept = make_spec(seed, digest="a" * 64, **of).concept
    assert concept is not None
    return concept


def read(prompt: str = "a * toy", negative: str = "", concept: str = "toy") -> Reading:
    reading = Reading.of(concept, prompt, negative)
    assert reading is not None
    return reading


def test_a_reading_tells_texts_apart_and_holds_none() -> None:
    assert Reading.of("", "a dog", "") is None
    assert read(concept="toy@" + "a" * 64) == read(), "resolved or not"
    assert "toy" not in (read().positive + read().negative)
    assert read().positive != read("another").positive == read("another", "bad").positive
    assert read().negative == read("another").negative != read(negative="bad").negative
    assert read().positive != read(concept="cup").positive


def test_what_was_met_is_known_by_its_keys_alone() -> None:
    familiar, use = Familiar(), use_of(references=2, negative=0.5)
    familiar.learn(read(), use)
    likely = familiar.likely(read(), 0.8)
    assert likely is not None
    assert [stream.key for stream in likely.streams] == [stream.key for stream in use.streams]
    assert likely.image_guidance == pytest.approx((0.4, 0.8))
    assert (len(likely.references), likely.references.size, likely.contexts.size) == (2, 0, 0)
    assert familiar.likely(read(), 0.0) is None
    other = familiar.likely(read("another"), 1.0)
    assert other is not None
    known = {stream.key for stream in use.streams}
    assert [stream.key in known for stream in other.streams] == [True, False], "its prompt was never met"


def test_of_a_concept_never_met_nothing_is_there() -> None:
    familiar, known = Familiar(), use_of()
    familiar.learn(read(), known)
    strange = familiar.likely(read(concept="cup"), 1.0)
    assert strange is not None
    keys = [stream.key for stream in strange.streams]
    assert len({*keys, *(stream.key for stream in known.streams)}) == 4
    assert (len(strange.references), strange.image_guidance) == (1, (1.0, 1.0))


def test_a_word_alone_reads_nothing() -> None:
    familiar = Familiar()
    familiar.learn(read(), None)
    assert familiar.likely(read(), 1.0) is None
    familiar.learn(read(), use_of())
    familiar.learn(read(), None)
    assert familiar.likely(read(), 1.0) is not None, "somebody did not want image guidance; the concept has it"


def test_a_concept_that_reads_its_own_text_is_known_whatever_is_asked() -> None:
    familiar, use = Familiar(), use_of(fixed_context=True)
    familiar.learn(read(), use)
    likely = familiar.likely(read("another", "bad"), 1.0)
    assert likely is not None
    assert {stream.key for stream in likely.streams} == {use.streams[0].key}


def test_features_that_are_not_there_count(tmp_path: Path) -> None:
    """With them a request is in time, and without them late: the loop would say so only after the texts' stage."""

    class Slow(FakeDenoiser):
        def run(self, feeds: Any) -> Any:
            time.sleep(0.01)
            return super().run(feeds)

    concepts = Concepts(tmp_path, 1)
    loop = EngineLoop(make_engine(concepts.load, denoiser=Slow(), max_lanes=2), max_queue=8)
    stage = UnetLoopStage(GRAPHSET, loop, Seal("s"))
    spec = make_spec(steps=8, digest=concepts.digests[0])
    loop.submit([spec], Deadline()).result(30)
    assert spec.concept is not None
    stage._familiar.learn(read(), spec.concept)
    besides: list[float] = []
    refusal = loop._conductor.refusal

    def noted(ticket: Any) -> Any:
        besides.append(ticket.lanes[0].beside)
        return refusal(ticket)

    loop._conductor.refusal = noted  # type: ignore[method-assign]
    for reading in (read(), read("another"), None):
        stage.foresee(Question({"steps": 8, "sampler": "dpmpp_2m"}, "", time.monotonic() + 60, reading))
    assert besides == [0, 8, 0]
    loop.close(5)


def test_lines_are_json_of_one_line() -> None:
    for line in (QUESTION.to_line(), refusal_of(REFUSED).to_line()):
        assert line.count(b"\n") == 1
        json.loads(line)


def test_priority_is_the_requests(loop: EngineLoop) -> None:
    stage = UnetLoopStage(GRAPHSET, loop, Seal("s"))
    askers: list[Asker] = []

    class Listening:
        def foresee(self, specs: Any, deadline: Deadline, asker: Asker) -> None:
            askers.append(asker)
            assert [len(spec.plan) for spec in specs] == [3, 3]

    stage._loop = Listening()  # type: ignore[assignment]
    stage.foresee(Question({"steps": 3, "num_images": 2, "priority": 9}, "somebody", 1.0))
    assert askers == [Asker("somebody", 9)]
