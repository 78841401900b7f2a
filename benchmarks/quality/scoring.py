"""The scorer of a comparison: which encoders, which judge of the text."""

from __future__ import annotations

from benchmarks.quality.pair import Setting
from training.evaluation.dinov2 import SaliencyDinoV2
from training.evaluation.efficientnet import EfficientNetLite2
from training.evaluation.scorer import Scorer, TextJudge
from training.evaluation.subject import Subject, load_subjects
from vico.base import Base, load_base


def read_subjects(setting: Setting) -> tuple[Subject, ...]:
    """All concepts of the photos' folder, at the base's own size."""
    return load_subjects(setting.photos, load_base(setting.base).default_size)


def make_scorer(setting: Setting) -> Scorer:
    """Two encoders that have nothing to do with each other; the gallery is all concepts, the tuning ones with them."""
    base = load_base(setting.base)
    subjects = load_subjects(setting.photos, base.default_size)
    return Scorer(base, subjects, [EfficientNetLite2(), SaliencyDinoV2()], _judge(base))


def _judge(base: Base) -> TextJudge:
    from benchmarks.quality.errors import QualityError

    raise QualityError("text judge", f"none for {base.name} yet", "training.evaluation's, once it is there")
