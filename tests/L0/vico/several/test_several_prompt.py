from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vico.concept import TokenizerSpec, tokenize_prompt
from vico.errors import PromptError
from vico.several.prompt import tokenize_several

SPEC = TokenizerSpec(bos_id=1, eos_id=999, pad_id=999, placeholder_id=5, max_length=16)


def encode(text: str) -> list[int]:
    """One id a word: 10 and its length."""
    return [10 + len(word) for word in text.split()]


def test_every_placeholder_has_its_places() -> None:
    row, places = tokenize_several("a *a next to an *b here", encode, SPEC, {"*a": 1, "*b": 2})
    assert row.input_ids[:10] == (1, 11, 5, 14, 12, 12, 5, 5, 14, 999)
    assert (row.placeholder_positions, places, row.end_position) == ((2, 6, 7), {"*a": 2, "*b": 6}, 9)
    assert len(row.input_ids) == 16
    assert not row.truncated


def test_positions_come_in_the_order_of_the_concepts() -> None:
    row, places = tokenize_several("a *a next to an *b here", encode, SPEC, {"*b": 2, "*a": 1})
    assert (row.placeholder_positions, list(places)) == ((6, 7, 2), ["*b", "*a"])


@given(st.lists(st.sampled_from(["a", "photo", "of", "snow"]), max_size=9), st.integers(0, 9), st.integers(1, 3))
def test_one_placeholder_is_tokenised_as_ever(words: list[str], place: int, vectors: int) -> None:
    prompt = " ".join([*words[:place], "*", *words[place:]])
    row, places = tokenize_several(prompt, encode, SPEC, {"*": vectors})
    assert row == tokenize_prompt(prompt, encode, SPEC, "*", vectors)
    assert places == {"*": row.attention_position}


def test_a_placeholder_may_begin_as_another_does() -> None:
    row, _ = tokenize_several("a ** next to a *, and *a", encode, SPEC, {"*": 1, "**": 1, "*a": 1})
    assert row.placeholder_positions == (6, 2, 9)


@pytest.mark.parametrize(
    ("prompt", "placeholders", "problem"),
    [
        ("a *a", ("*a", "*b"), "prompt: '*b' not in it"),
        ("a photo", ("*a", "*b"), "prompt: '*a', '*b' not in it"),
        ("a *a and a *b or *a", ("*a", "*b"), "prompt: '*a' in it more than once"),
        ("a *a and a *b and a *c", ("*a", "*b"), "prompt: '*c' stands for no concept"),
        ("a *a and a *ab", ("*a",), "prompt: '*ab' stands for no concept"),
        ("a *a", (), "concepts: none is given"),
        ("a *a", ("*a", " "), "concepts: none is given, or one under an empty placeholder"),
        ("word " * 14 + "*a", ("*a",), "prompt: '*a' after the part that is read"),
    ],
)
def test_refusals_name_the_placeholder(prompt: str, placeholders: tuple[str, ...], problem: str) -> None:
    with pytest.raises(PromptError) as refusal:
        tokenize_several(prompt, encode, SPEC, dict.fromkeys(placeholders, 1))
    assert str(refusal.value).startswith(problem)


def test_words_beyond_the_window_are_left_out() -> None:
    row, _ = tokenize_several("*a and *b" + " word" * 20, encode, SPEC, {"*a": 1, "*b": 1})
    assert (row.truncated, len(row.input_ids), row.end_position) == (True, 16, 15)
