"""The scorer of a comparison: which encoders, which judge of the text."""

from __future__ import annotations

from benchmarks.quality.pair import Setting
from training.evaluation.chosen import default_encoders
from training.evaluation.scorer import Scorer
from training.evaluation.subject import Subject, load_look_alikes, load_subjects
from training.evaluation.text import load_toy_judge
from vico.base import load_base


def read_subjects(setting: Setting) -> tuple[Subject, ...]:
    """All concepts of the photos' folder, at the base's own size."""
    return load_subjects(setting.photos, load_base(setting.base).default_size)


def make_scorer(setting: Setting) -> Scorer:
    """The evaluation's own encoders and toy judge; the gallery is all concepts and their look-alikes.

    Raises:
        EncoderError: a library of an encoder is absent.
        SuiteError: the base has no judge beside it.
    """
    base = load_base(setting.base)
    subjects = load_subjects(setting.photos, base.default_size)
    return Scorer(base, subjects, default_encoders(), load_toy_judge(base.path), load_look_alikes(setting.photos))
