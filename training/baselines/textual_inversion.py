"""Textual Inversion: nothing is learned but the embedding of a new word (arXiv 2208.01618)."""

from __future__ import annotations

from torch import Tensor, nn

from training.baselines.examples import ExampleMaker
from training.baselines.fit import Group, count, fit, noise_error
from training.baselines.learned_word import PLACEHOLDER, learned_context, learned_word
from training.baselines.method import Baseline, Stopwatch, Trained
from training.baselines.recipe import BaselineRecipe, Count, Rate
from training.concept_model import initial_embedding
from training.evaluation.maker import concept_maker
from training.evaluation.subject import Subject
from vico.base import Base
from vico.pipeline import encode_pictures


class TextualInversionRecipe(BaselineRecipe):
    """Recipe of Textual Inversion."""

    token_lr: Rate
    vectors: Count = 1
    """Learned vectors that stand for the word."""


class TextualInversion(Baseline[TextualInversionRecipe]):
    """The embedding begins at the init word's, as published."""

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn the word from `subject.train`; see `Method`."""
        recipe, watch = self.recipe_, Stopwatch(seconds)
        word = nn.Parameter(initial_embedding(base, subject.init_word).repeat(recipe.vectors, 1))
        captions = [caption.format(PLACEHOLDER) for caption in recipe.captions]
        maker = ExampleMaker(base, encode_pictures(base, subject.train), captions, recipe.batch_size, seed)

        def loss(step: int) -> Tensor:
            examples = maker.draw(step)
            return noise_error(base, examples, learned_context(base, examples.captions, word))

        groups = [Group([word], recipe.token_lr)]
        steps = fit(recipe, groups, loss, watch)
        seconds = watch.seconds
        return Trained(concept_maker(base, learned_word(base, word), self.settings), seconds, steps, count(groups))
