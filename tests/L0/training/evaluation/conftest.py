"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import pytest

from tests.helpers.evaluation import ColourEncoder, make_subject
from training.evaluation.maker import SamplingSettings
from training.evaluation.subject import Subject
from training.evaluation.suite import Prompt, Suite


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def red() -> Subject:
    return make_subject("red", (220, 20, 20))


@pytest.fixture
def blue() -> Subject:
    return make_subject("blue", (20, 20, 220))


@pytest.fixture
def suite() -> Suite:
    prompts = (
        Prompt("recontextualise", "a photo of a {} on the beach", "beach"),
        Prompt("attribute", "a photo of a red {}", "red"),
    )
    return Suite("two", prompts, (0, 3), SamplingSettings("ddim", 2, 2.0))
