"""A tokenizer for a checkpoint that has none: from a folder, or from the vocabulary in the `open_clip_torch` wheel."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from pathlib import Path

from vico.errors import BaseError

_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_BPE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
_START, _END = "<|startoftext|>", "<|endoftext|>"
_ACCEPTED = "--tokenizer with the tokenizer/ folder of any Stable Diffusion 1.x, or `pip install open_clip_torch`"


def place_tokenizer(out: Path, given: Path | None, sibling: Path) -> None:
    """Fill the folder `out` from `given`, else from `sibling` where that is a folder, else from open_clip.

    Raises:
        BaseError: none of them is there, or the folder holds no CLIP tokenizer.
    """
    source = given or (sibling if sibling.is_dir() else None)
    out.mkdir(parents=True)
    if source is None:
        write_clip_vocabulary(_open_clip_file(), out)
        return
    if not (source / "tokenizer.json").is_file() and not all((source / name).is_file() for name in _FILES[1:3]):
        raise BaseError("tokenizer", f"{source.name}/ holds no CLIP tokenizer", _ACCEPTED)
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def write_clip_vocabulary(bpe: Path, out: Path) -> None:
    """`vocab.json`, `merges.txt` and the configuration from OpenAI's file of merges (gzip, one a line, after a header).

    Ids: the 256 byte letters, the same closed with `</w>`, the merges, start, end (CLIP's `simple_tokenizer.py`).
    """
    with gzip.open(bpe, "rt", encoding="utf-8") as file:
        merges = [line.rstrip("\n") for line in file][1 : _MERGES + 1]
    letters = byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m.split()) for m in merges), _START, _END]
    (out / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (out / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    (out / "special_tokens_map.json").write_text(json.dumps(special))
    config = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (out / "tokenizer_config.json").write_text(json.dumps(config))


def byte_letters() -> list[str]:
    """A visible letter for each byte, in CLIP's order: those that are visible stand for themselves."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in visible] + [chr(256 + i) for i in range(256 - len(visible))]


def _open_clip_file() -> Path:
    found = importlib.util.find_spec("open_clip")
    file = Path(found.origin).parent / _BPE if found is not None and found.origin else None
    if file is None or not file.is_file():
        raise BaseError("tokenizer", "a single-file checkpoint holds none", _ACCEPTED)
    return file
