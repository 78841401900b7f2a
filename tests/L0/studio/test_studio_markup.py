"""What the page shows of a job, and that no text in it is taken for HTML."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.child import Drawn, SeenPhoto
from studio.drawing import Column
from studio.errors import Problem
from studio.jobs import Phase, Snapshot
from studio.markup import columns_html, job_html, photos_html, problem_html
from studio.wish import Wish

RUNNING = Snapshot(1, Phase.TRAINING, "disc", "toy", step=100, steps=400, seconds=60.0)
EVIL = "<img src=x onerror=alert(1)>'\""


class Tags(HTMLParser):
    """Which elements and attributes there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def test_a_training_tells_how_far_it_is() -> None:
    shown = job_html(RUNNING)
    assert "Learning <b>disc</b>" in shown
    assert "value='0.250'" in shown
    assert "Step 100 of 400, about 3 minutes left" in shown


def test_before_the_first_step_nobody_knows_how_long() -> None:
    shown = job_html(replace(RUNNING, step=0, steps=0))
    assert "<progress max='1'></progress>" in shown
    assert "left" not in shown


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_can_be_shown(phase: Phase) -> None:
    shown = job_html(replace(RUNNING, phase=phase))
    assert ("<progress" in shown) == (phase in (Phase.LOOKING, Phase.TRAINING))


def test_a_problem_is_shown_instead() -> None:
    problem = Problem("photos", "none yet", "1 to 7")
    assert job_html(replace(RUNNING, phase=Phase.FAILED, problem=problem)) == problem_html(problem)


@given(st.text(max_size=30))
def test_no_text_becomes_an_element(text: str) -> None:
    seen, drawn = SeenPhoto(name="1", photo="QQ==", masked="Qg==", enlarged=False), Drawn(prompt="p", picture="QQ==")
    plain, evil = "x", EVIL + text

    def all_of(word: str) -> str:
        job = replace(
            RUNNING, name=word, word=word, photos=(seen,), pictures=(drawn.model_copy(update={"prompt": word}),)
        )
        columns = (Column(Wish(word, word), picture="data:,", done=True), Column(Wish(word)))
        return job_html(job) + photos_html(job) + columns_html(columns) + problem_html(Problem(word, word, word))

    assert Tags(all_of(evil)).found == Tags(all_of(plain)).found
