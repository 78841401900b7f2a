from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vico_client import ConceptNotFound, DeadlineExceeded, InvalidRequest, Unavailable, UntrustedServer

from studio.errors import StudioError, problem_of
from studio.registry import Known, Registry
from studio.wish import MAX_COLUMNS, MAX_SEED, Wish, checked_seed, checked_steps, variants
from tests.helpers.concepts import make_concept
from vico.errors import VicoError

TEDDY, HEN = Known("teddy", "toy"), Known("hen", "bird", "<hen>")


def test_the_same_words_and_seed_for_every_concept_and_the_plain_base() -> None:
    columns = variants(Wish(" a * in the snow ", seed=7, image_guidance=0.8), [TEDDY, HEN], plain=True)
    assert [(column.prompt, column.concept, column.title) for column in columns] == [
        ("a * in the snow", "teddy", "teddy"),
        ("a <hen> in the snow", "hen", "hen"),
        ("a toy in the snow", "", "plain base"),
    ]
    assert {column.seed for column in columns} == {7}


def test_a_concept_may_be_called_by_its_own_placeholder() -> None:
    [own, plain] = variants(Wish("a <hen>"), [HEN], plain=True)
    assert (own.prompt, plain.prompt) == ("a <hen>", "a bird")


def test_without_a_concept_there_is_the_plain_base_as_it_was_written() -> None:
    assert variants(Wish("2 * 2"), [], plain=False) == (Wish("2 * 2"),)


@pytest.mark.parametrize(
    ("prompt", "concepts", "field"),
    [
        (" ", [], "prompt"),
        ("a toy", [TEDDY], "prompt"),
        ("a * and a *", [TEDDY], "prompt"),
        ("a *", [TEDDY] * MAX_COLUMNS, "compare"),
    ],
)
def test_a_wish_that_is_not_complete_names_its_field(prompt: str, concepts: list[Known], field: str) -> None:
    with pytest.raises(StudioError) as caught:
        variants(Wish(prompt), concepts, plain=True)
    assert caught.value.field == field
    assert caught.value.accepted


def test_only_what_says_something_is_asked() -> None:
    assert Wish("a", seed=1).options() == {"seed": 1, "preset": "balanced", "guidance_scale": 7.5}
    full = Wish("a *", "teddy", 1, 0.5, 4.0, "fast", 9, "text")
    assert full.options() == {
        "concept": "teddy",
        "seed": 1,
        "preset": "fast",
        "guidance_scale": 4.0,
        "image_guidance": 0.5,
        "steps": 9,
        "negative_prompt": "text",
    }


@given(st.integers(0, MAX_SEED))
def test_a_seed_is_taken_as_it_is(seed: int) -> None:
    assert checked_seed(f" {seed}") == seed


@pytest.mark.parametrize("seed", ["-1", "0.5", str(MAX_SEED + 1), "x", "9" * 5000, "¹", "٣"])
def test_what_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(StudioError, match=r"^seed: "):
        checked_seed(seed)


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_no_seed_is_any_seed(nothing: str | None) -> None:
    assert len({checked_seed(nothing) for _ in range(8)}) > 1
    assert checked_steps(nothing) is None


def test_what_is_known_of_a_concept(tmp_path: Path) -> None:
    make_concept(tmp_path, "teddy")
    registry = Registry(tmp_path)
    known = registry.known("teddy")
    assert (known.name, known.placeholder, known.found) == ("teddy", "*", True)
    assert registry.known("alias", "teddy@" + "0" * 64).word == known.word
    for strange in ("nobody", "../teddy", "", "Teddy"):
        assert registry.known(strange) == Known(strange)


@pytest.mark.parametrize(
    ("error", "field", "said"),
    [
        (VicoError("steps", "0", "1 to 100"), "steps", "0"),
        (InvalidRequest("too many", field="steps", hint="1 to 100"), "steps", "too many"),
        (ConceptNotFound("no concept 'x'", field="concept"), "concept", "no concept 'x'"),
        (Unavailable("10.0.0.7:8001: refused"), "server", "the picture server does not answer"),
        (UntrustedServer("10.0.0.7:8001: certificate"), "server", "the picture server does not answer"),
        (DeadlineExceeded("not within 3 s"), "time", "the picture was not ready in time"),
        (InvalidRequest("odd"), "request", "odd"),
    ],
)
def test_errors_are_put_in_plain_words(error: Any, field: str, said: str) -> None:
    problem = problem_of(error)
    assert (problem.field, problem.problem) == (field, said)
    assert "10.0.0.7" not in str(problem)
