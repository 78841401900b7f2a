"""A prompt with several placeholders. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from vico.concept import TokenizedPrompt, TokenizerSpec
from vico.concept.prompt import Encode
from vico.errors import PromptError

_STARRED = r"(?<!\w)\*\w*"


def tokenize_several(
    prompt: str, encode: Encode, spec: TokenizerSpec, vectors: Mapping[str, int]
) -> tuple[TokenizedPrompt, dict[str, int]]:
    """Tokenise a prompt that holds every placeholder of `vectors` (placeholder → how many vectors it has) once.

    Returns the prompt, its `placeholder_positions` in the order of `vectors` (not of the prompt), and for every
    placeholder the position of its first vector: the one whose text attention is asked for.

    Raises:
        PromptError: a placeholder is empty, absent, repeated or beyond the window, or a word such as "*c" is none.
    """
    found = _find(prompt, vectors)
    ends = [0, *(match.end() for match in found)]
    starts = [*(match.start() for match in found), len(prompt)]
    pieces = [prompt[end:start] for end, start in zip(ends, starts, strict=True)]
    ids, places = list(encode(pieces[0])), {}
    for match, after in zip(found, pieces[1:], strict=True):
        places[match.group()] = len(ids) + 1  # the begin token comes first
        ids += [spec.placeholder_id] * vectors[match.group()] + list(encode(after))
    room = spec.max_length - 2
    if late := [p for p, place in places.items() if place + vectors[p] - 1 > room]:
        raise PromptError(
            "prompt",
            f"{_listed(late)} after the part that is read",
            f"every placeholder among the first {room} tokens",
        )
    body = ids[:room]
    tokenized = TokenizedPrompt(
        input_ids=(spec.bos_id, *body, spec.eos_id, *[spec.pad_id] * (room - len(body))),
        placeholder_positions=tuple(places[p] + v for p, count in vectors.items() for v in range(count)),
        end_position=len(body) + 1,
        truncated=len(ids) > room,
    )
    return tokenized, {p: places[p] for p in vectors}


def _find(prompt: str, vectors: Mapping[str, int]) -> list[re.Match[str]]:
    """Where each placeholder stands, in the order of the prompt."""
    if not vectors or not all(p.strip() for p in vectors):
        raise PromptError("concepts", "none is given, or one under an empty placeholder", "a placeholder for each")
    # the longest first, so that "*" is not seen in "**"
    words = "|".join(re.escape(p) for p in sorted(vectors, key=len, reverse=True))
    found = list(re.finditer(rf"(?<!\w)(?:{words})(?!\w)", prompt))
    names = [match.group() for match in found]
    accepted = f"each of {_listed(vectors)} exactly once"
    if missing := [p for p in vectors if p not in names]:
        raise PromptError("prompt", f"{_listed(missing)} not in it", accepted)
    if twice := [p for p in vectors if names.count(p) > 1]:
        raise PromptError("prompt", f"{_listed(twice)} in it more than once", accepted)
    spans = [(0, 0), *(match.span() for match in found), (len(prompt), len(prompt))]
    between = " ".join(prompt[end:start] for (_, end), (start, _) in pairwise(spans))
    if unknown := re.findall(_STARRED, between):
        raise PromptError("prompt", f"{_listed(unknown)} stands for no concept", accepted)
    return found


def _listed(words: Mapping[str, int] | list[str]) -> str:
    return ", ".join(repr(word) for word in words)
