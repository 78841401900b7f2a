"""The toy base's tokenizer: a small byte-pair vocabulary of the class and conventions of CLIP's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer

from training.toy.vocabulary import COLOURS, EXTRA_WORDS, HELD_OUT, PLAIN_FORMS, SCENES, STYLES, THINGS

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def world_phrases() -> list[str]:
    """Every phrase that captions are made of, and common words of prompts."""
    phrases = [thing.name for thing in THINGS] + [entry.name.lower() for entry in HELD_OUT]
    phrases += [part for scene in SCENES for part in (scene.phrase, scene.alone)]
    phrases += [*STYLES.values(), *COLOURS, *PLAIN_FORMS, *EXTRA_WORDS, "next to", "an the"]
    return [phrase for phrase in phrases if phrase]


def train_merges(phrases: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level pair merges that join every word of `phrases` to one token; returns CLIP's vocabulary and merges.

    Ids run as in CLIP: the 256 byte letters, the same closed with ``</w>``, the merges, start, end. The two special
    tokens are the greatest ids, which is what makes ``argmax(ids)`` find the first end of text.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=8192, min_frequency=1, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([phrase.lower() for phrase in phrases], trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *dict.fromkeys(a + b for a, b in merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, [(str(a), str(b)) for a, b in merges]


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def bare_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """The same tokenizer for the `tokenizers` library alone: adds start and end; pads and cuts on request."""
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=END)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Trains and writes ``vocab.json``, ``merges.txt``, ``tokenizer.json`` and the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = train_merges(world_phrases())
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bare_tokenizer(vocabulary, merges).save(str(folder / "tokenizer.json"))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n", encoding="utf-8")
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return loaded
