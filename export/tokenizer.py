"""A base's CLIP tokenizer as one `tokenizer.json`, so that serving needs only the `tokenizers` library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from export.errors import TokenizerError
from vico.concept.atomic import write_atomically

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

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


def write_tokenizer(clip: CLIPTokenizer, path: Path) -> None:
    """Write transformers' `CLIPTokenizer` `clip` to `path` (`tokenizer.json`), without truncation or padding.

    Raises:
        TokenizerError: read again, it gives other ids than `clip` for one of `PROBES`.
    """
    content = json.loads(clip.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    text = json.dumps(content, ensure_ascii=False)
    _verify(Tokenizer.from_str(text), clip)
    write_atomically(path, text.encode())


def _verify(tokenizer: Tokenizer, clip: CLIPTokenizer) -> None:
    for probe in PROBES:
        ids, wanted = tokenizer.encode(probe).ids, clip(probe)["input_ids"]
        if ids != wanted:
            raise TokenizerError("base", f"its tokenizer gives other ids than transformers for {probe!r}", str(wanted))
