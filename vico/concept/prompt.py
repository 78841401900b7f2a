"""From a prompt to token ids, with the place of the concept's placeholder. Free of any tokenizer library."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from vico.errors import PromptError

Encode = Callable[[str], Sequence[int]]
"""Text to token ids, without begin and end tokens, not truncated."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TokenizerSpec:
    """The numbers of a CLIP tokenizer."""

    bos_id: int
    eos_id: int
    """The greatest id: the end-of-text position is the argmax of the ids, as in CLIP."""
    pad_id: int
    placeholder_id: int
    """Any ordinary id; it holds the placeholder's place until the learned embedding replaces it."""
    max_length: int = 77


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as the text encoder takes it."""

    input_ids: tuple[int, ...]
    """[max_length], with begin, end and padding."""
    placeholder_positions: tuple[int, ...]
    """Positions of the learned vectors, one each; empty without a concept."""
    end_position: int
    """Position of the first end-of-text token."""
    truncated: bool
    """True if words at the end were left out."""

    @property
    def attention_position(self) -> int:
        """The position whose text attention makes the mask: the placeholder, or the end of the text without one."""
        return self.placeholder_positions[0] if self.placeholder_positions else self.end_position


def reference_prompt(placeholder: str) -> str:
    """The neutral prompt of `reference_context = "concept"`; part of what a concept means, so it never changes."""
    return f"a photo of a {placeholder}"


def tokenize_prompt(
    prompt: str, encode: Encode, spec: TokenizerSpec, placeholder: str | None = None, vectors: int = 1
) -> TokenizedPrompt:
    """Tokenise `prompt`; where `placeholder` stands, put `vectors` ids to be replaced by the learned embedding.

    The text before and after the placeholder is encoded by itself, so that "*," never becomes one token and a
    placeholder may be any word, whether the vocabulary knows it or not.

    Raises:
        PromptError: a placeholder was asked for and is absent, stands more than once, or beyond the window.
    """
    room = spec.max_length - 2
    if placeholder is None:
        ids, positions = list(encode(prompt)), range(0)
    else:
        before, after = _split(prompt, placeholder)
        head = list(encode(before))
        ids = head + [spec.placeholder_id] * vectors + list(encode(after))
        positions = range(len(head) + 1, len(head) + 1 + vectors)
        if len(head) + vectors > room:
            raise PromptError(
                "prompt",
                f"the placeholder {placeholder!r} stands after the part that is read",
                f"the placeholder among the first {room} tokens",
            )
    body = ids[:room]
    padding = [spec.pad_id] * (room - len(body))
    return TokenizedPrompt(
        input_ids=(spec.bos_id, *body, spec.eos_id, *padding),
        placeholder_positions=tuple(positions),
        end_position=len(body) + 1,
        truncated=len(ids) > room,
    )


def _split(prompt: str, placeholder: str) -> tuple[str, str]:
    """The text before and after the one placeholder, which must stand free of letters and digits."""
    found = list(re.finditer(rf"(?<!\w){re.escape(placeholder)}(?!\w)", prompt))
    if len(found) != 1:
        count = "no" if not found else f"{len(found)}"
        raise PromptError("prompt", f"{count} placeholders {placeholder!r} in it", f"exactly one {placeholder!r}")
    return prompt[: found[0].start()], prompt[found[0].end() :]
