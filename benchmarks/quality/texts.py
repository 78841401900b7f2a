"""The words above the tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.quality.pair import Pair
from benchmarks.quality.plan import TUNING
from training.baselines.methods import PLAIN

_COMMON = """\
Base `{base}`, suite `{suite}` ({prompts} prompts x {seeds} seeds), {sampler} with {steps} steps and guidance
{guidance}. Every method had the same photos and at most {seconds:.0f} CPU s of training
(one thread), seed {seed}."""


def comparison_text(pairs: Sequence[Pair]) -> str:
    """Title and conditions of the comparison."""
    concepts = list(dict.fromkeys(pair.concept for pair in pairs))
    found = f"recipes were found on `assets/tuning-photos`, {' and '.join(TUNING)}"
    apart = "**of which some are among them**" if set(concepts) & set(TUNING) else "none of which is among them"
    command = f"`make quality` prints this page. {len(concepts)} concepts; {found}, {apart}."
    return "\n\n".join(["# Methods side by side", command, _conditions(pairs)])


def ablation_text(pairs: Sequence[Pair]) -> str:
    """Title and conditions of the ablations."""
    concepts = list(dict.fromkeys(pair.concept for pair in pairs))
    changed = {pair.label: pair for pair in pairs if pair.overrides or pair.photos}
    rows = ["| row | recipe fields changed | photos |", "|---|---|---|"]
    for label, pair in changed.items():
        fields = ", ".join(f"`{name} = {value!r}`" for name, value in pair.overrides.items()) or "–"
        rows.append(f"| `{label}` | {fields} | {pair.photos or 'all'} |")
    title = "# Single options of `vico`"
    command = f"`python -m benchmarks.quality ablate` prints this page. Concepts: {', '.join(concepts)}."
    return "\n\n".join([title, command, _conditions(pairs), "\n".join(rows)])


def strength_text(pairs: Sequence[Pair], table: str) -> str:
    """The whole page of strengths."""
    concepts = list(dict.fromkeys(pair.concept for pair in pairs))
    command = f"`python -m benchmarks.quality strength` prints this page. Concepts: {', '.join(concepts)}."
    reading = """\
`image_guidance` scales what the image attention adds: 0 is plain Stable Diffusion with the learned word, 1 is as
trained. *Gap closed*: 0 % is the init word drawn by the plain base, 100 % is real photos of the thing."""
    title = "# Strength of a concept"
    return "\n\n".join([title, command, _conditions(pairs), reading, table, "![by concept](strength.png)"]) + "\n"


def _conditions(pairs: Sequence[Pair]) -> str:
    pair = next((pair for pair in pairs if pair.method != PLAIN), pairs[0])
    suite, setting = pair.suite, pair.setting
    return _COMMON.format(
        base=setting.base.resolve().name,
        suite=suite.name,
        prompts=len(suite.prompts),
        seeds=len(suite.seeds),
        sampler=suite.settings.sampler,
        steps=suite.settings.steps,
        guidance=suite.settings.guidance_scale,
        seconds=setting.seconds,
        seed=setting.seed,
    )
