"""The toy world: draws captioned 64-pixel pictures, each fully determined by a seed and its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.toy.compose import compose, finish
from training.toy.cutouts import Cutout
from training.toy.scenes import paint
from training.toy.vocabulary import COLOURS, PLAIN_FORMS, SCENES, STYLES, THINGS, article, held_out_scenes

SIZE = 64  # pixels a side

Picture = npt.NDArray[np.uint8]  # [SIZE, SIZE, 3] RGB


@dataclass(frozen=True)
class Plan:
    """What a picture shows and how its caption says it."""

    things: tuple[int, ...]  # indices into THINGS; empty for a scene alone
    scene: int  # index into SCENES
    style: str | None = None  # key of STYLES
    colour: str | None = None  # key of COLOURS; colours the (only) object
    names_scene: bool = True
    form: str = "a photo of"
    definite: bool = False  # "the cat" for "a cat"

    @property
    def caption(self) -> str:
        """The caption, such as "a photo of a strawberry on a wooden table"."""
        place = SCENES[self.scene]
        form = STYLES[self.style] if self.style else self.form
        if not self.things:
            return f"{form} {place.alone}".strip()
        subject = " next to ".join(self._noun(thing) for thing in self.things)
        return " ".join(part for part in (form, subject, place.phrase if self.names_scene else "") if part)

    def _noun(self, thing: int) -> str:
        name = f"{self.colour} {THINGS[thing].name}" if self.colour else THINGS[thing].name
        return f"the {name}" if self.definite else article(name)


def allowed_scenes(things: Sequence[int]) -> list[int]:
    """Scenes in which none of `things` is held out."""
    barred = {scene for thing in things for scene in held_out_scenes(thing)}
    return [scene for scene in range(len(SCENES)) if scene not in barred]


def draw_plan(draw: np.random.Generator) -> Plan:
    """A training plan: 68 % plain, 10 % in a style, 10 % coloured, 10 % of two objects, 2 % half a caption."""
    kind = draw.random()
    pair = 0.88 <= kind < 0.98
    things = tuple(int(thing) for thing in draw.choice(len(THINGS), size=2 if pair else 1, replace=False))
    scenes = allowed_scenes(things)
    scene = scenes[draw.integers(len(scenes))]
    form = PLAIN_FORMS[draw.integers(len(PLAIN_FORMS))]
    definite = bool(draw.random() < 0.12)
    if kind < 0.68 or pair:
        return Plan(things, scene, form=form, definite=definite)
    if kind < 0.78:
        return Plan(things, scene, style=list(STYLES)[draw.integers(len(STYLES))], definite=definite)
    if kind < 0.88:
        return Plan(things, scene, colour=list(COLOURS)[draw.integers(len(COLOURS))], form=form, definite=definite)
    if draw.random() < 0.6:
        return Plan(things, scene, names_scene=False, form=form, definite=definite)
    return Plan((), scene, form=form)


@dataclass(frozen=True)
class World:
    """Pictures on demand from cut-outs held in memory."""

    cutouts: Sequence[Sequence[Cutout]]  # for each of THINGS, its pictures
    seed: int = 0

    def sample(self, number: int) -> tuple[Picture, Plan]:
        """Training picture `number`: the same for the same seed, cut-outs and code."""
        draw = np.random.default_rng([self.seed, number])
        plan = draw_plan(draw)
        return self.picture(plan, draw), plan

    def picture(self, plan: Plan, draw: np.random.Generator) -> Picture:
        """A picture of `plan`; what the plan leaves open comes from `draw`."""
        canvas = paint(SCENES[plan.scene].key, draw)
        chosen = [self.cutouts[thing][draw.integers(len(self.cutouts[thing]))] for thing in plan.things]
        canvas = compose(canvas, chosen, SCENES[plan.scene].key, plan.colour, draw)
        return finish(canvas, plan.style, SIZE)
