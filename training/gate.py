"""`vico train --gate`: a trained concept is evaluated before its package gets to its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.evaluation.chosen import Choice, default_suite, load_encoders, load_text_judge
from training.evaluation.evaluate import EvaluationJob, load_gallery, run_evaluation
from training.job import TrainingJob
from vico.base import load_base


@dataclass(frozen=True)
class Gate:
    """Refuses a concept whose identity does not beat the floor; the figures of one that does go into its manifest."""

    job: TrainingJob
    held_out: Path | None
    """Other photos of the thing; None = identity is measured against those that were trained on."""
    choice: Choice

    def require_ready(self) -> None:
        """Refuse now what would be refused after hours of training.

        Raises:
            VicoError: an encoder or the text judge cannot be loaded, or the held-out photos cannot be read.
        """
        base = load_base(self.job.base)
        load_encoders(self.choice)
        load_text_judge(base, self.choice, self.job.init_word)
        load_gallery(self.job.concept_id, self.job.init_word, self.job.photos, self.held_out, base.default_size)

    def __call__(self, candidate: Path) -> None:
        """Evaluate a package with the base's own suite, into a folder beside it.

        Raises:
            GateError: identity does not beat the floor; the package and the evaluation stay where they are.
        """
        run_evaluation(
            EvaluationJob(
                base=self.job.base,
                concept=candidate,
                photos=self.job.photos,
                held_out=self.held_out,
                suite=default_suite(self.job.base),
                choice=self.choice,
                out=candidate.parent / "evaluation",
                gate=True,
            )
        )
