"""The toy world: deterministic, and true to its held-out pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.toy.vocabulary import HELD_OUT, SCENES, THINGS, article, held_out_pairs, held_out_scenes
from training.toy.world import SIZE, Plan, World, allowed_scenes, draw_plan


@pytest.fixture(scope="module")
def world() -> World:
    """A world of plain coloured cut-outs, in place of emoji and renders."""
    draw = np.random.default_rng(0)
    cutouts = []
    for _ in THINGS:
        cutout = np.full((40, 128, 4), 255, dtype=np.uint8)
        cutout[..., :3] = draw.integers(0, 255, size=3)
        cutouts.append([cutout])
    return World(cutouts, seed=3)


def test_size_of_the_world() -> None:
    assert len(THINGS) >= 84
    assert len({thing.name for thing in THINGS}) == len(THINGS)
    assert len(SCENES) == 14
    assert len(HELD_OUT) >= 12


def test_held_out_models_are_not_in_the_world_but_their_init_words_are() -> None:
    used = {model for thing in THINGS for model in thing.models}
    names = {thing.name for thing in THINGS}
    for entry in HELD_OUT:
        assert entry.model not in used
        assert entry.init_word in names
        assert entry.name not in names


def test_every_object_has_two_held_out_scenes_and_every_scene_about_as_many_objects() -> None:
    pairs = held_out_pairs()
    assert len(set(pairs)) == 2 * len(THINGS)
    counts = np.bincount([scene for _, scene in pairs], minlength=len(SCENES))
    assert counts.min() >= 8
    assert counts.max() <= 18


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_a_training_plan_never_shows_a_held_out_pair(seed: int) -> None:
    plan = draw_plan(np.random.default_rng(seed))
    for thing in plan.things:
        assert plan.scene not in held_out_scenes(thing)
    assert plan.colour is None or len(plan.things) == 1
    assert plan.caption == plan.caption.strip()
    assert "  " not in plan.caption


def test_plans_come_in_the_promised_shares() -> None:
    plans = [draw_plan(np.random.default_rng([1, number])) for number in range(4000)]
    assert 0.07 < np.mean([plan.style is not None for plan in plans]) < 0.13
    assert 0.07 < np.mean([plan.colour is not None for plan in plans]) < 0.13
    assert 0.07 < np.mean([len(plan.things) == 2 for plan in plans]) < 0.13


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_pictures_follow_from_seed_and_number(world: World, number: int) -> None:
    first, plan = world.sample(number)
    second, again = world.sample(number)
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    assert plan == again
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, World(world.cutouts, seed=4).sample(number)[0])


@pytest.mark.parametrize("scene", range(len(SCENES)), ids=[scene.key for scene in SCENES])
def test_an_object_shows_on_every_scene(world: World, scene: int) -> None:
    empty = world.picture(Plan((), scene), np.random.default_rng(5)).astype(int)
    full = world.picture(Plan((4,), scene), np.random.default_rng(5)).astype(int)
    assert np.abs(full - empty).max() > 30


@pytest.mark.parametrize("style", ["gray", "sketch", "pixel", "watercolor"])
def test_a_style_changes_the_picture(world: World, style: str) -> None:
    plain = world.picture(Plan((7,), 0), np.random.default_rng(5)).astype(int)
    styled = world.picture(Plan((7,), 0, style=style), np.random.default_rng(5)).astype(int)
    assert np.abs(plain - styled).mean() > 3


def test_captions() -> None:
    names = [thing.name for thing in THINGS]
    strawberry, panda, wood = names.index("strawberry"), names.index("panda"), 4
    assert Plan((strawberry,), wood).caption == "a photo of a strawberry on a wooden table"
    assert Plan((strawberry,), wood, colour="orange").caption == "a photo of an orange strawberry on a wooden table"
    assert Plan((panda, strawberry), 1).caption == "a photo of a panda next to a strawberry on the beach"
    assert Plan((panda,), 2, style="sketch", definite=True).caption == "a pencil sketch of the panda in the snow"
    assert Plan((), 10).caption == "a photo of a forest"
    assert Plan((panda,), 10, names_scene=False, form="").caption == "a panda"
    assert article("ice cream") == "an ice cream"
    assert article("grapes") == "grapes"


def test_two_objects_only_meet_where_both_may_be() -> None:
    for scene in allowed_scenes((0, 1)):
        assert scene not in {*held_out_scenes(0), *held_out_scenes(1)}
