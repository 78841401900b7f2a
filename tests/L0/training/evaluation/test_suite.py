from __future__ import annotations

from pathlib import Path

import pytest

from training.evaluation.suite import FAMILIES, SuiteError, load_suite, shipped
from training.evaluation.text import _check
from vico.sampling import NoiseSchedule, make_plan

GOOD = """
name = "mine"
seeds = [0, 1]
[settings]
sampler = "ddim"
steps = 5
guidance_scale = 2.0
[[prompts]]
family = "restyle"
template = "a sketch of a {}"
expect = "sketch"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", ["toy", "sd"])
def test_shipped_suites_cover_the_four_families(name: str) -> None:
    suite = load_suite(name)
    assert name in shipped()
    assert len(suite.prompts) >= 10
    assert len(suite.seeds) == 4
    assert {prompt.family for prompt in suite.prompts} == set(FAMILIES)
    assert len({prompt.template for prompt in suite.prompts}) == len(suite.prompts)


def test_toy_suite_expects_what_the_toy_world_has() -> None:
    for prompt in load_suite("toy").prompts:
        _check(prompt)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, GOOD))
    assert (suite.name, suite.seeds, suite.settings.image_guidance) == ("mine", (0, 1), 1.0)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"restyle"', '"repaint"', "prompts.0.family"),
        ("{}", "thing", "prompts.0.template"),
        ("{}", "{} {}", "prompts.0.template"),
        ("{}", "{0}", "prompts.0.template"),
        ('expect = "sketch"', "", "prompts.0.expect"),
        ("[0, 1]", "[]", "seeds"),
        ("[0, 1]", "[-1]", "seeds.0"),
        ("[0, 1]", "[1, 1]", "seeds"),
        ("steps = 5", "steps = 0", "settings.steps"),
        ("steps = 5", 'steps = "many"', "settings.steps"),
        ("guidance_scale = 2.0", "guidance_scale = 0.5", "settings.guidance_scale"),
        ('sampler = "ddim"', 'sampler = "ddim"\nfoo = 1', "settings.foo"),
        ('name = "mine"', "", "name"),
        ('name = "mine"', 'name = "mine"\ncolour = 1', "colour"),
        ("[[prompts]]", "[[prompts", "suite"),
    ],
)
def test_errors_name_the_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(SuiteError) as refused:
        load_suite(written(tmp_path, GOOD.replace(old, new)))
    assert refused.value.field == field


@pytest.mark.parametrize("choice", ["nothing", "absent.toml"])
def test_unknown_suite(choice: str) -> None:
    with pytest.raises(SuiteError, match="suite"):
        load_suite(choice)


@pytest.mark.parametrize("name", ["toy", "sd"])
def test_samplers_of_shipped_suites_exist(name: str) -> None:
    settings = load_suite(name).settings
    assert len(make_plan(settings.sampler, settings.steps, NoiseSchedule())) >= settings.steps
