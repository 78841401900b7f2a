"""Pictures of the world's objects that the held-out ones are nearest to: what identity must not be mistaken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.toy.vocabulary import HELD_OUT, SCENES, THINGS
from training.toy.world import Plan, World

PER_WORD = 4
_SEED = 4242


def write_look_alikes(world: World, out: Path) -> None:
    """Writes `PER_WORD` pictures, 64 pixels a side, of every init word's object to ``out/<word>/<k>.png``.

    Each on another scene, from a seed that training does not use.
    """
    names = [thing.name for thing in THINGS]
    for word in sorted({held_out.init_word for held_out in HELD_OUT}):
        (out / word).mkdir(parents=True, exist_ok=True)
        for k in range(PER_WORD):
            draw = np.random.default_rng([_SEED, names.index(word), k])
            plan = Plan((names.index(word),), int(draw.permutation(len(SCENES))[k]))
            Image.fromarray(world.picture(plan, draw)).save(out / word / f"{k}.png", optimize=True)
