"""Progress from a step of the loop to the reader of a letter: previews, letters, post, letterbox, the loop's part."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fake_runners import GRAPHSET, FakeDenoiser, make_engine, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from serving.deadline import Deadline
from serving.loop import EngineLoop
from serving.runner import Feeds, Results
from serving.streaming.letter import MAX_BYTES, Letter
from serving.streaming.letterbox import Letterbox
from serving.streaming.post import Post
from serving.streaming.preview import SIDE, PreviewMap, encode_thumbnail
from serving.streaming.progress import Progress, Watch
from vico.concept import read_graphset, write_graphset
from vico.concept.preview import SD1_LATENT_TO_RGB
from vico.errors import GraphSetError

WAIT = 60.0
PREVIEWS = PreviewMap(SD1_LATENT_TO_RGB)


def test_a_graph_set_has_its_own_map_or_that_of_its_family(tmp_path: Path) -> None:
    assert GRAPHSET.preview_map == SD1_LATENT_TO_RGB
    own = ((0.5, 0.25, 0.125),) * 5
    write_graphset(tmp_path, replace(GRAPHSET, latent_to_rgb=own))
    assert read_graphset(tmp_path).preview_map == own
    text = (tmp_path / "graphset.json").read_text()
    (tmp_path / "graphset.json").write_text(text.replace("0.125", '"blue"', 1))
    with pytest.raises(GraphSetError, match="latent_to_rgb"):
        read_graphset(tmp_path)


def test_a_thumbnail_is_the_map_of_every_cell() -> None:
    latent = np.zeros((4, 2, 3), np.float32)
    latent[0, 1, 2] = 1.0
    shown = PreviewMap(((0.5, 0.0, -2.0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0.0, 0.2, 0.0))).thumbnail(latent)
    assert shown.shape == (2, 3, 3)
    assert shown[0, 0].tolist() == [128, 153, 128]
    assert shown[1, 2].tolist() == [191, 153, 0], "what lies outside is clipped"


@given(st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_a_preview_is_small_whatever_the_latent(height: int, width: int) -> None:
    thumbnail = PREVIEWS.thumbnail(np.full((4, height, width), 0.3, np.float32))
    assert max(thumbnail.shape[:2]) <= SIDE
    image = Image.open(io.BytesIO(encode_thumbnail(thumbnail)))
    assert image.format == "JPEG"
    assert max(image.size) == SIDE


def test_a_latent_that_is_no_number_is_a_picture_too() -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert PREVIEWS.thumbnail(np.full((4, 2, 2), value, np.float32)).dtype == np.uint8


SHOWN = st.one_of(st.none(), arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
LETTERS = st.builds(
    Letter,
    call=st.text(max_size=40),
    done=st.lists(st.integers(0, 100), max_size=8).map(tuple),
    steps=st.integers(1, 100),
    seconds_left=st.one_of(st.none(), st.floats(0, 1e6)),
    thumbnails=st.lists(SHOWN, max_size=8).map(tuple),
)


def same(one: Letter, other: Letter) -> bool:
    pairs = zip(one.thumbnails, other.thumbnails, strict=True)
    return replace(one, thumbnails=()).__dict__ == replace(other, thumbnails=()).__dict__ and all(
        (a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b)) for a, b in pairs
    )


@given(LETTERS)
def test_a_letter_comes_back(letter: Letter) -> None:
    assert same(Letter.from_bytes(letter.to_bytes()), letter)


@given(LETTERS, st.data())
def test_a_torn_letter_is_refused_and_nothing_worse(letter: Letter, data: st.DataObject) -> None:
    whole = letter.to_bytes()
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        Letter.from_bytes(torn)
    except (ValueError, KeyError, TypeError):
        return
    raise AssertionError("a torn letter was read")


def test_the_largest_letter_fits() -> None:
    largest = PREVIEWS.thumbnail(np.zeros((4, SIDE, SIDE), np.float32))
    assert len(Letter("c" * 64, (100,) * 8, 100, 1e6, (largest,) * 8).to_bytes()) <= MAX_BYTES


def progress(step: int, side: int = 4) -> Progress:
    return Progress((step,), 100, 1.0, (np.full((4, side, side), step / 100, np.float32),))


class Read:
    """Keeps letters; the first may be held up."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.came, self.go_on = Event(), Event()
        self.until = 0
        self.all_came = Event()

    def __call__(self, letter: Letter) -> None:
        self.letters.append(letter)
        self.came.set()
        assert self.go_on.wait(WAIT)
        if letter.done[0] >= self.until:
            self.all_came.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress"


@pytest.fixture
def box(path: Path) -> Iterator[Letterbox]:
    box = Letterbox(path)
    yield box
    box.close()
    assert not path.exists()


@pytest.fixture
def post(path: Path) -> Iterator[Post]:
    post = Post(path, PREVIEWS)
    yield post
    post.close()


def test_letters_go_to_the_reader_of_their_call_and_to_nobody_later(box: Letterbox, post: Post) -> None:
    one, other = Read(), Read()
    one.go_on.set()
    other.go_on.set()
    with box.reading("one", one):
        with box.reading("other", other):
            post.put("nobody", progress(1))
            post.put("one", progress(2))
            post.put("other", progress(3))
            assert one.all_came.wait(WAIT)
            assert other.all_came.wait(WAIT)
        post.put("other", progress(4))
        one.all_came.clear()
        post.put("one", progress(5))
        assert one.all_came.wait(WAIT)
    assert [letter.done for letter in one.letters] == [(2,), (5,)]
    assert [letter.done for letter in other.letters] == [(3,)]
    assert one.letters[0].thumbnails[0] is not None


def test_a_reader_that_is_held_up_sees_the_latest_and_holds_up_nobody(box: Letterbox, post: Post) -> None:
    """A thousand reports while the reader stands still: what waits is bounded, the last is not lost."""
    read = Read()
    read.until = 1000
    with box.reading("one", read):
        post.put("one", progress(1, 64))
        assert read.came.wait(WAIT)
        for step in range(2, 1001):
            post.put("one", progress(step, 64))
        assert len(post._waiting) <= 1
        read.go_on.set()
        assert read.all_came.wait(WAIT)
    steps = [letter.done[0] for letter in read.letters]
    assert steps == sorted(steps)
    assert steps[-1] == 1000
    assert len(steps) < 100, "most of them were overtaken"


def test_nobody_there_is_no_fault_and_somebody_later_is_found(path: Path, post: Post, caplog: Any) -> None:
    post.put("one", progress(1))
    read = Read()
    read.go_on.set()
    for _ in range(2):
        # the second takes the place of the first, as after a kill
        box = Letterbox(path)
        read.all_came.clear()
        with box.reading("one", read):
            for step in range(1, 10_000):
                post.put("one", progress(step))
                if read.all_came.wait(0.01):
                    break
        assert read.all_came.is_set()
        if _ == 0:
            box._listener._closed = True
            box._listener._thread.join()
            box._listener._socket.close()
    box.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_rubbish_and_a_reader_that_breaks_cost_their_letter_only(path: Path, box: Letterbox, post: Post) -> None:
    def breaks(letter: Letter) -> None:
        raise RuntimeError("broken")

    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for content in (b"", b"\xff" * 10, b"\x02\0\0\0{}", b"\x04\0\0\0null"):
        stranger.sendto(content, str(path))
    stranger.close()
    read = Read()
    read.go_on.set()
    with box.reading("bad", breaks), box.reading("good", read):
        post.put("bad", progress(1))
        post.put("good", progress(2))
        assert read.all_came.wait(WAIT)


class Gate(FakeDenoiser):
    """Counts steps; stops before the one it is told."""

    def __init__(self, stop_at: int = 0) -> None:
        super().__init__()
        self.steps, self.stop_at = 0, stop_at
        self.reached, self.open = Event(), Event()

    def run(self, feeds: Feeds) -> Results:
        self.steps += 1
        if self.steps == self.stop_at:
            self.reached.set()
            assert self.open.wait(WAIT)
        return super().run(feeds)


@pytest.fixture
def loops() -> Iterator[Callable[..., EngineLoop]]:
    made: list[EngineLoop] = []

    def make(**options: Any) -> EngineLoop:
        made.append(EngineLoop(make_engine(None, **options), 64))
        return made[-1]

    yield make
    for loop in made:
        loop.close(WAIT)
        loop.engine.check_integrity()


@given(steps=st.integers(1, 12), every=st.integers(1, 14), pictures=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_the_loop_reports_every_so_many_steps(steps: int, every: int, pictures: int) -> None:
    """Four lanes: of more pictures some wait, and are reported as such."""
    loop = EngineLoop(make_engine(None), 64)
    told: list[Progress] = []
    specs = [make_spec(seed, steps=steps) for seed in range(pictures)]
    plain = loop.submit(specs, Deadline()).result(WAIT)
    future = loop.submit(specs, Deadline(), watch=Watch(every, told.append))
    latents = future.result(WAIT).latents
    loop.close(WAIT)
    assert [latent.tobytes() for latent in latents] == [latent.tobytes() for latent in plain.latents]
    if pictures <= 4:
        assert [report.done for report in told] == [
            (step,) * pictures for step in range(1, steps + 1) if step % every == 0
        ]
    assert all(report.steps == steps and len(report.clean) == pictures for report in told)
    for report in told:
        assert [clean is None for clean in report.clean] == [done == 0 for done in report.done]
    totals = [sum(report.done) for report in told]
    assert totals == sorted(set(totals))
    if every == 1:
        assert told[-1].done == (steps,) * pictures
        # both samplers' last step goes to the picture that they expect
        for clean, latent in zip(told[-1].clean, latents, strict=True):
            assert clean is not None
            np.testing.assert_allclose(clean, latent, atol=1e-5)


def test_time_left_falls_and_counts_those_who_wait(loops: Callable[..., EngineLoop]) -> None:
    loop = loops(max_lanes=2)
    loop.submit([make_spec(steps=4)], Deadline()).result(WAIT)
    told: list[Progress] = []
    loop.submit([make_spec(k, steps=20) for k in range(5)], Deadline(), watch=Watch(1, told.append)).result(WAIT)
    left = [report.seconds_left for report in told]
    assert all(seconds is not None and seconds >= 0 for seconds in left)
    assert [clean is None for clean in told[0].clean].count(True) == 3, "three wait"
    assert left[0] is not None
    assert left[-1] is not None
    assert left[-1] < left[0]


def test_a_watch_that_breaks_or_a_request_given_up_leaves_the_loop_whole(loops: Callable[..., EngineLoop]) -> None:
    gate = Gate(stop_at=3)
    loop = loops(denoiser=gate)
    told: list[Progress] = []
    given_up = loop.submit([make_spec(steps=50)], Deadline(), watch=Watch(1, told.append))
    assert gate.reached.wait(WAIT)
    given_up.cancel()
    gate.open.set()
    loop.submit([make_spec(steps=3)], Deadline()).result(WAIT)
    assert len(told) <= 3, "no report after it was given up"
