"""The toy tokenizer keeps CLIP's contract."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from training.toy.tokens import END, LENGTH, START, world_phrases, write_tokenizer
from training.toy.world import draw_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> CLIPTokenizer:
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return loaded


@pytest.fixture(scope="module")
def bare(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_special_tokens_are_the_two_greatest_ids(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer.bos_token_id == len(tokenizer) - 2
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.model_max_length == LENGTH


def test_padded_ids_find_the_first_end_by_argmax(tokenizer: CLIPTokenizer) -> None:
    ids = np.array(tokenizer("a photo of a cat", padding="max_length", truncation=True).input_ids)
    assert ids.shape == (LENGTH,)
    assert ids[0] == tokenizer.bos_token_id
    assert int(ids.argmax()) == 6


def test_no_word_of_the_world_is_split(bare: Tokenizer) -> None:
    for phrase in world_phrases():
        tokens = bare.encode(phrase).tokens[1:-1]
        assert all(token.endswith("</w>") for token in tokens), (phrase, tokens)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_word_of_a_caption_is_split(bare: Tokenizer, seed: int) -> None:
    caption = draw_plan(np.random.default_rng(seed)).caption
    assert len(bare.encode(caption).ids) == len(caption.replace("-", " - ").split()) + 2


@pytest.mark.parametrize("word", ["*", "strawberry", "toy"])
def test_placeholder_is_one_token(bare: Tokenizer, word: str) -> None:
    assert bare.encode(word).tokens == [START, f"{word}</w>", END]


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_both_libraries_give_equal_ids(tokenizer: CLIPTokenizer, bare: Tokenizer, text: str) -> None:
    assert tokenizer(text).input_ids == bare.encode(text).ids


def test_long_prompts_are_cut(tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer("cat " * 200, truncation=True).input_ids
    assert len(ids) == LENGTH
    assert ids[-1] == tokenizer.eos_token_id
