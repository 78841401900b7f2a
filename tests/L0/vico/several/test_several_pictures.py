from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.helpers.concepts import make_concept
from vico.base import Base
from vico.concept import read_package
from vico.errors import PromptError
from vico.loaded_concept import LoadedConcept, load_concept
from vico.pipeline import PictureRequest, PipelineError, generate_latents
from vico.several import Placing, generate_several, generate_several_latents

REQUEST = PictureRequest("a photo of a *a on a *b in the snow", seed=3, steps=2, num_images=2)
EVERYWHERE = Placing(background=None)


@pytest.fixture(scope="module")
def pair(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedConcept]:
    folder = tmp_path_factory.mktemp("concepts")
    sites, digest = tiny_base.site_specs, tiny_base.digest
    paths = [
        make_concept(folder, f"c{i}", sites=sites, base=digest, seed=i, width=32, latent=16, scale=0.1)
        for i in range(2)
    ]
    return {p: load_concept(tiny_base, read_package(path)) for p, path in zip(("*a", "*b"), paths, strict=True)}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("context", ["prompt", "concept"])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_one_concept_gives_the_picture_of_the_ordinary_pipeline(
    tiny_base: Base, pair: dict[str, LoadedConcept], share: float, context: str, scale: float
) -> None:
    concept = replace(pair["*a"], negative_image_guidance=share, reference_context=context)  # type: ignore[arg-type]
    request = replace(REQUEST, prompt="a photo of a * in the snow", guidance_scale=scale, image_guidance=0.8)
    expected = generate_latents(tiny_base, request, concept)
    ours = generate_several_latents(tiny_base, request, {"*": concept}, placing=EVERYWHERE)
    # random networks make large latents; 1e-5 of their size
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not torch.allclose(expected, generate_latents(tiny_base, replace(request, image_guidance=0.0), concept))


def test_the_order_of_the_concepts_is_of_no_account(tiny_base: Base, pair: dict[str, LoadedConcept]) -> None:
    there = generate_several_latents(tiny_base, REQUEST, pair)
    back = generate_several_latents(tiny_base, REQUEST, dict(reversed(pair.items())))
    torch.testing.assert_close(back, there, rtol=1e-4, atol=1e-4)


def test_concepts_swap_with_their_placeholders(tiny_base: Base, pair: dict[str, LoadedConcept]) -> None:
    there = generate_several_latents(tiny_base, REQUEST, pair)
    swapped = {"*b": pair["*a"], "*a": pair["*b"]}
    renamed = replace(REQUEST, prompt="a photo of a *b on a *a in the snow")
    torch.testing.assert_close(generate_several_latents(tiny_base, renamed, swapped), there, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(generate_several_latents(tiny_base, REQUEST, swapped), there, atol=1e-2)


@pytest.mark.parametrize("context", ["prompt", "concept"])
def test_a_concept_with_strength_zero_leaves_its_word_and_the_other(
    tiny_base: Base, pair: dict[str, LoadedConcept], context: str
) -> None:
    pair = {p: replace(c, reference_context=context) for p, c in pair.items()}  # type: ignore[arg-type]
    off = generate_several_latents(tiny_base, REQUEST, pair, {"*b": 0.0})
    word = replace(pair["*b"], blocks=())
    assert torch.equal(off, generate_several_latents(tiny_base, REQUEST, {**pair, "*b": word}))
    assert not torch.allclose(off, generate_several_latents(tiny_base, REQUEST, pair), atol=1e-2)
    other_word = replace(word, token_embedding=-word.token_embedding)
    assert not torch.allclose(off, generate_several_latents(tiny_base, REQUEST, {**pair, "*b": other_word}), atol=1e-2)


def test_with_every_strength_zero_it_is_stable_diffusion_with_the_words(
    tiny_base: Base, pair: dict[str, LoadedConcept]
) -> None:
    off = generate_several_latents(tiny_base, replace(REQUEST, image_guidance=0.0), pair)
    words = {p: replace(c, blocks=()) for p, c in pair.items()}
    assert torch.equal(off, generate_several_latents(tiny_base, REQUEST, words))


def test_every_concept_acts_in_the_negative_half_as_it_says(tiny_base: Base, pair: dict[str, LoadedConcept]) -> None:
    """Unguided pictures have no negative half; guided ones change with the share of one concept alone."""
    mixed = {**pair, "*b": replace(pair["*b"], negative_image_guidance=0.0)}
    alone = replace(REQUEST, guidance_scale=1.0)
    # the reference runs as one batch more or less: rounding differs
    torch.testing.assert_close(
        generate_several_latents(tiny_base, alone, mixed), generate_several_latents(tiny_base, alone, pair)
    )
    guided, less = (generate_several_latents(tiny_base, REQUEST, concepts) for concepts in (pair, mixed))
    assert not torch.allclose(guided, less, atol=1e-2)


def test_the_same_concept_twice_in_equal_shares_is_that_concept_everywhere(
    tiny_base: Base, pair: dict[str, LoadedConcept]
) -> None:
    """Its fixed reference context makes both members alike, so the shares must not matter."""
    same = replace(pair["*a"], reference_context="concept")
    both = {"*a": same, "*b": same}
    soft, hard = (
        generate_several_latents(tiny_base, REQUEST, both, placing=replace(EVERYWHERE, sharpness=sharpness))
        for sharpness in (0.0, 200.0)
    )
    torch.testing.assert_close(soft, hard, rtol=1e-3, atol=1e-3)
    apart, shared = (
        generate_several_latents(tiny_base, REQUEST, pair, placing=replace(EVERYWHERE, sharpness=s))
        for s in (0.0, 200.0)
    )
    assert not torch.allclose(apart, shared, atol=1e-2)


def test_on_the_background_no_concept_acts(tiny_base: Base, pair: dict[str, LoadedConcept]) -> None:
    """A background above all attention leaves the words alone."""
    nowhere = generate_several_latents(tiny_base, REQUEST, pair, placing=Placing(200.0, background=2.0))
    words = {p: replace(c, blocks=()) for p, c in pair.items()}
    torch.testing.assert_close(nowhere, generate_several_latents(tiny_base, REQUEST, words), rtol=1e-4, atol=1e-4)


def test_pictures_of_any_accepted_size(tiny_base: Base, pair: dict[str, LoadedConcept]) -> None:
    seen: list[int] = []
    request = replace(REQUEST, height=40, width=24)
    pictures = generate_several(tiny_base, request, pair, on_step=lambda done, of: seen.append(done))
    assert [picture.size for picture in pictures] == [(24, 40)] * 2
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("guidance", "words"),
    [({"*c": 1.0}, "'\\*c' stands for no concept"), ({"*a": -1.0}, "-1"), ({"*a": float("nan")}, "nan")],
)
def test_refused_strengths_are_named(
    tiny_base: Base, pair: dict[str, LoadedConcept], guidance: dict[str, float], words: str
) -> None:
    with pytest.raises(PipelineError, match=f"^image_guidance: {words}"):
        generate_several_latents(tiny_base, REQUEST, pair, guidance)


def test_prompts_without_a_placeholder_and_pictures_without_concepts_are_refused(
    tiny_base: Base, pair: dict[str, LoadedConcept]
) -> None:
    with pytest.raises(PromptError, match=r"^prompt: '\*b' not in it"):
        generate_several_latents(tiny_base, replace(REQUEST, prompt="a photo of a *a"), pair)
    with pytest.raises(PromptError, match=r"^concepts: none"):
        generate_several_latents(tiny_base, REQUEST, {})
