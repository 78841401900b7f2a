"""ViCo in the comparison: as published, as we train it, and with a fixed reference context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.baselines.learned_word import PLACEHOLDER
from training.baselines.method import Stopwatch, Trained
from training.evaluation.maker import SamplingSettings, concept_maker
from training.evaluation.subject import Subject
from training.recipe import Recipe, to_dict
from training.setup import set_up
from vico.base import Base
from vico.loaded_concept import LoadedConcept


@dataclass(frozen=True, eq=False)
class Learned:
    """A concept, and as in `Trained` what it cost."""

    concept: LoadedConcept
    seconds: float
    steps: int
    parameters: int


@dataclass(frozen=True)
class TwoStreams:
    """Any recipe of `vico train`, under a name of its own."""

    name: str
    recipe_: Recipe
    settings: SamplingSettings
    version: int = 1

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the result, as plain JSON values."""
        aside = ("checkpoint_", "validation_", "guidance_scale")
        return {name: value for name, value in to_dict(self.recipe_).items() if not name.startswith(aside)}

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn `subject.train` with the reference stream; see `Method`."""
        learned = self.learn(base, subject, seed, seconds)
        maker = concept_maker(base, learned.concept, self.settings)
        return Trained(maker, learned.seconds, learned.steps, learned.parameters)

    def learn(self, base: Base, subject: Subject, seed: int, seconds: float) -> Learned:
        """The same for whoever draws the concept in more ways than one."""
        recipe, watch = self.recipe_, Stopwatch(seconds)
        trainer, latents = set_up(base, recipe, subject.train, subject.init_word, seed=seed)
        steps = 0
        while steps < recipe.steps and not watch.spent:
            trainer.step(steps)
            steps += 1
        trainer.finish()
        concept = trainer.model.concept(
            PLACEHOLDER, latents[: recipe.references], recipe.reference_context, recipe.negative_image_guidance
        )
        seconds = watch.seconds
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        return Learned(concept, seconds, steps, parameters)
