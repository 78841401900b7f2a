"""`tokenizer.json` gives the ids of transformers' CLIPTokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from export.errors import TokenizerError
from export.tokenizer import PROBES, write_tokenizer
from vico.base import Base

WORDS = st.sampled_from(["photo", "Table", "it's", "3", "*", "<|endoftext|>", "é", "e\u0301", "🐕", "  ", "\n", "東京"])
TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS).map(" ".join), st.lists(WORDS).map("".join))


@pytest.fixture(scope="module")
def written(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(base.tokenizer, path)
    return Tokenizer.from_file(str(path))


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_same_ids(base: Base, written: Tokenizer, text: str) -> None:
    assert written.encode(text).ids == base.tokenizer(text)["input_ids"]
    assert written.encode(text, add_special_tokens=False).ids == base.encode_text(text)


@pytest.mark.parametrize("text", PROBES)
def test_probes(base: Base, written: Tokenizer, text: str) -> None:
    assert written.encode(text).ids == base.tokenizer(text)["input_ids"]


def test_long_prompts_are_neither_cut_nor_padded(base: Base, written: Tokenizer) -> None:
    base.tokenizer("a photo", padding="max_length", truncation=True, max_length=77)
    assert len(written.encode("photo " * 200).ids) == 202
    assert len(written.encode("photo").ids) == 3


def test_a_tokenizer_that_was_used_with_padding_is_written_without(base: Base, tmp_path: Path) -> None:
    base.tokenizer("a photo", padding="max_length", truncation=True, max_length=77)
    write_tokenizer(base.tokenizer, tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["padding"] is content["truncation"] is None


def test_vocabulary_and_merges_are_enough(base: Base, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(base.path / "tokenizer" / name, tmp_path)
    write_tokenizer(CLIPTokenizer.from_pretrained(tmp_path), tmp_path / "out" / "tokenizer.json")
    again = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    for text in PROBES:
        assert again.encode(text).ids == base.tokenizer(text)["input_ids"]


def test_one_file_is_enough(base: Base, written: Tokenizer, tmp_path: Path) -> None:
    base.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").unlink(missing_ok=True)
    clip = CLIPTokenizer.from_pretrained(tmp_path)
    assert clip("a photo of a dog")["input_ids"] == written.encode("a photo of a dog").ids


def test_a_difference_is_found_and_nothing_written(base: Base, tmp_path: Path) -> None:
    class Other:
        backend_tokenizer = base.tokenizer.backend_tokenizer

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [0]}

    with pytest.raises(TokenizerError, match="other ids than transformers"):
        write_tokenizer(cast(CLIPTokenizer, Other()), tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())
