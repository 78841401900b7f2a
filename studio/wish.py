"""What somebody wishes to see, and the same wish for a concept, for another, and for the plain base."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.errors import StudioError
from studio.numbers import whole
from studio.registry import Known

MAX_COLUMNS = 4
PLAIN = "plain base"
MAX_SEED = 2**53 - 1  # the greatest that a browser can keep
_SEEDS = 1_000_000  # more are possible; these can be read out, and typed on a phone


@dataclass(frozen=True)
class Wish:
    """One picture. concept: "" = the plain base. steps: None = the preset's. seed: the same gives the same picture."""

    prompt: str
    concept: str = ""
    seed: int = 0
    image_guidance: float = 1.0
    guidance_scale: float = 7.5
    preset: str = "balanced"
    steps: int | None = None
    negative_prompt: str = ""

    @property
    def title(self) -> str:
        """Of the column."""
        return self.concept or PLAIN

    def options(self) -> dict[str, Any]:
        """Keywords of `vico_client.Client.generate`, but for the prompt; without those that say nothing."""
        options: dict[str, Any] = {"seed": self.seed, "preset": self.preset, "guidance_scale": self.guidance_scale}
        if self.concept:
            options = {"concept": self.concept, **options, "image_guidance": self.image_guidance}
        if self.steps is not None:
            options["steps"] = self.steps
        if self.negative_prompt:
            options["negative_prompt"] = self.negative_prompt
        return options


def variants(wish: Wish, concepts: Sequence[Known], *, plain: bool) -> tuple[Wish, ...]:
    """The wish for each concept, then for the plain base: same words, same seed, other thing.

    `*` in the prompt becomes each concept's placeholder, and for the plain base the first one's word.

    Raises:
        StudioError: there is no prompt, a concept without its `*`, or too many columns.
    """
    prompt = wish.prompt.strip()
    if not prompt:
        raise StudioError("prompt", "none yet", "what to show, such as: a photo of a * on the beach")
    columns = [replace(wish, prompt=_named(prompt, known, known.placeholder), concept=known.name) for known in concepts]
    if plain or not concepts:
        words = _named(prompt, concepts[0], concepts[0].word) if concepts else prompt
        columns.append(replace(wish, prompt=words, concept=""))
    if len(columns) > MAX_COLUMNS:
        raise StudioError("compare", f"{len(columns)} pictures at once", f"at most {MAX_COLUMNS}")
    return tuple(columns)


def _named(prompt: str, known: Known, word: str) -> str:
    """The prompt with `word` where the thing goes: at `*`, or at the concept's own placeholder."""
    mark = "*" if "*" in prompt else known.placeholder
    if prompt.count(mark) != 1:
        problem = f"{mark} stands in it {prompt.count(mark)} times"
        raise StudioError("prompt", problem, "one * where your thing goes, such as: a photo of a * on the beach")
    return prompt.replace(mark, word)


def any_seed() -> int:
    """One that nobody chose."""
    return 1 + secrets.randbelow(_SEEDS)


def checked_seed(typed: str | None) -> int:
    """The seed in the form, or any. StudioError for what is none."""
    seed = whole("seed", typed, 0, MAX_SEED, "for a new one each time")
    return any_seed() if seed is None else seed


def checked_steps(typed: str | None) -> int | None:
    """The steps in the form; None = the preset's. StudioError for what is none."""
    return whole("steps", typed, 1, 100, "for what the speed says")
