"""Text judges of the toy world: does a picture show the scene, style, colour or other object its prompt names?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.encoder import Features
from training.evaluation.suite import Prompt, SuiteError
from training.toy.judge import Judge, judge_logits, load_judge
from training.toy.paths import PROBE
from training.toy.probe import COLOUR_KEYS, SHOWN, STYLE_KEYS, Probe, load_probe, probe_logits
from training.toy.vocabulary import COLOURS, SCENES, STYLES, THINGS
from training.toy.world import SIZE

JUDGE = "judge.safetensors"
_SCENES = tuple(scene.key for scene in SCENES)
_THINGS = tuple(thing.name for thing in THINGS)
_KNOWN: dict[str, tuple[str, ...]] = {
    "recontextualise": _SCENES,
    "restyle": tuple(STYLES),
    "attribute": tuple(COLOURS),
    "with another object": _THINGS,
}


@dataclass(frozen=True)
class ToyTextJudge:
    """1 where a picture shows what its prompt expects, else 0.

    Scene: the judge's best guess. Style and colour: the probe's best guess, "none" among them. Another object: the
    probe's logit reaches `SHOWN`. Neither network has seen a picture that a base made; accuracies on real renders lie
    beside the probe (judge-probe.json).
    """

    base_judge: Judge
    probe: Probe

    name = "toy judge and probe"

    def judge(self, drawn: Sequence[Drawn]) -> Features:
        """One figure per picture, [N].

        Raises:
            SuiteError: a prompt expects what the toy world does not have.
        """
        for one in drawn:
            _check(one.prompt)
        pictures = np.stack([_small(one.picture) for one in drawn])
        scenes = judge_logits(self.base_judge, pictures)[1].argmax(axis=1)
        said = probe_logits(self.base_judge, self.probe, pictures)
        styles, colours = said.style.argmax(axis=1), said.colour.argmax(axis=1)
        found: list[bool] = []
        for i, prompt in enumerate(one.prompt for one in drawn):
            match prompt.family:
                case "recontextualise":
                    found.append(_SCENES[scenes[i]] == prompt.expect)
                case "restyle":
                    found.append(STYLE_KEYS[styles[i]] == prompt.expect)
                case "attribute":
                    found.append(COLOUR_KEYS[colours[i]] == prompt.expect)
                case "with another object":
                    found.append(bool(said.things[i, _THINGS.index(prompt.expect)] >= SHOWN))
        return np.array(found, dtype=np.float32)


def load_toy_judge(base: Path) -> ToyTextJudge:
    """The judge and the probe in a base's folder.

    Raises:
        SuiteError: one of them is absent.
    """
    for file in (JUDGE, PROBE):
        if not (base / file).is_file():
            raise SuiteError("base", f"{base.name} has no {file}", "a toy base, or --encoders with a folder of CLIP")
    return ToyTextJudge(load_judge(base / JUDGE), load_probe(base / PROBE))


def _check(prompt: Prompt) -> None:
    known = _KNOWN[prompt.family]
    if prompt.expect not in known:
        raise SuiteError("expect", f"{prompt.expect!r} is not in the toy world ({prompt.family})", ", ".join(known))


def _small(picture: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
