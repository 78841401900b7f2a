"""A base's CLIP tokenizer as one `tokenizer.json`, so that serving needs only the `tokenizers` library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from export.errors import TokenizerError
from vico.concept.atomic import write_atomically

TOKENIZER_FILE = "tokenizer.json"
# every rule of the tokenizer once: case, space, contractions, digits, punctuation, accents (both forms), scripts
# without spaces, emoji joined of several, the special tokens written out, and words no vocabulary holds
PROBES = (
    "",
    " ",
    "a photo of a strawberry on a wooden table",
    "A  Photo\tof\nTHE Strawberry!",
    "it's we'll they're I'd you've I'm can't",
    "3 cats, 42 dogs; 1000000 (birds) -- half-price: 50%",
    "café cafe\u0301 naïve Ångström ﬁne",
    "写真 фото φωτογραφία तस्वीर",
    "👍🏽 👩‍👩‍👧 ☕️",
    "<|startoftext|> and <|endoftext|> in the text",
    "* a * photo of *, (*) **",
    "pneumonoultramicroscopicsilicovolcanoconiosis xqzjv",
    "\u0000\u200b\ufeff\u00a0",
)


def load_tokenizer(folder: Path) -> Any:
    """transformers' `CLIPTokenizer` of a folder with `tokenizer.json`, or with `vocab.json` and `merges.txt` only.

    Raises:
        TokenizerError: the folder holds neither, or they are malformed.
    """
    from transformers import CLIPTokenizer

    if not any((folder / name).is_file() for name in (TOKENIZER_FILE, "vocab.json")):
        raise TokenizerError("base", "its tokenizer folder is empty", "tokenizer.json, or vocab.json and merges.txt")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TokenizerError("base", f"its tokenizer cannot be read ({problem})", "a CLIPTokenizer folder") from None


def write_tokenizer(clip: Any, path: Path) -> None:
    """Write transformers' `CLIPTokenizer` `clip` to `path` (`tokenizer.json`), without truncation or padding.

    Raises:
        TokenizerError: read again, it gives other ids than `clip` for one of `PROBES`.
    """
    content = json.loads(clip.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    text = json.dumps(content, ensure_ascii=False)
    _verify(Tokenizer.from_str(text), clip)
    write_atomically(path, text.encode())


def _verify(tokenizer: Tokenizer, clip: Any) -> None:
    for probe in PROBES:
        ids, wanted = tokenizer.encode(probe).ids, clip(probe)["input_ids"]
        if ids != wanted:
            raise TokenizerError("base", f"its tokenizer gives other ids than transformers for {probe!r}", str(wanted))
