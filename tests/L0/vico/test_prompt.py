"""Where the placeholder stands, and what happens to prompts that are too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vico.concept import TokenizerSpec, tokenize_prompt
from vico.errors import PromptError

SPEC = TokenizerSpec(bos_id=998, eos_id=999, pad_id=999, placeholder_id=7)


def encode(text: str) -> list[int]:
    """One id a word, from 10 up: a stand-in for a real tokenizer."""
    return [10 + len(word) for word in text.split()]


def test_without_a_concept() -> None:
    prompt = tokenize_prompt("a photo of * here", encode, SPEC)
    assert prompt.input_ids[:7] == (998, 11, 15, 12, 11, 14, 999)
    assert len(prompt.input_ids) == 77
    assert prompt.placeholder_positions == ()
    assert prompt.end_position == prompt.attention_position == 6
    assert not prompt.truncated


@pytest.mark.parametrize(
    "text", ["a photo of * here", "a photo of *, here", 'a photo of "*" here', "a photo of * *here*"[:-7]]
)
def test_the_placeholder_is_found(text: str) -> None:
    prompt = tokenize_prompt(text, encode, SPEC, "*")
    assert prompt.input_ids[prompt.placeholder_positions[0]] == SPEC.placeholder_id
    assert prompt.attention_position == prompt.placeholder_positions[0]


def test_several_vectors_stand_side_by_side() -> None:
    prompt = tokenize_prompt("a <my-dog> here", encode, SPEC, "<my-dog>", vectors=3)
    assert prompt.placeholder_positions == (2, 3, 4)
    assert prompt.input_ids[:7] == (998, 11, 7, 7, 7, 14, 999)


@pytest.mark.parametrize(("text", "count"), [("a photo", "no"), ("2*3 is six", "no"), ("* and *", "2"), ("**", "2")])
def test_none_or_several_are_refused(text: str, count: str) -> None:
    with pytest.raises(PromptError, match=f"prompt: {count} placeholders"):
        tokenize_prompt(text, encode, SPEC, "*")


def test_a_long_prompt_is_cut_and_says_so() -> None:
    prompt = tokenize_prompt("* " + "word " * 100, encode, SPEC, "*")
    assert prompt.truncated
    assert len(prompt.input_ids) == 77
    assert prompt.end_position == 76


def test_a_placeholder_beyond_the_window_is_refused() -> None:
    tokenize_prompt("word " * 74 + "*", encode, SPEC, "*")
    with pytest.raises(PromptError, match="stands after the part that is read"):
        tokenize_prompt("word " * 75 + "*", encode, SPEC, "*")


@given(
    words=st.lists(st.text(st.characters(categories=["Ll"]), min_size=1, max_size=8), max_size=90),
    place=st.integers(0, 90),
)
def test_shape_and_end_hold_for_any_prompt(words: list[str], place: int) -> None:
    text = " ".join([*words[:place], "*", *words[place:]])
    try:
        prompt = tokenize_prompt(text, encode, SPEC, "*")
    except PromptError:
        assert min(place, len(words)) >= 75
        return
    ids = prompt.input_ids
    assert len(ids) == 77
    assert ids[0] == SPEC.bos_id
    assert ids.index(SPEC.eos_id) == prompt.end_position == ids.index(max(ids[1:]), 1)
    assert ids[prompt.placeholder_positions[0]] == SPEC.placeholder_id
    assert prompt.truncated == (len(words) + 1 > 75)
