from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from tests.helpers.concepts import make_concept
from vico.base import Base
from vico.concept import read_package
from vico.errors import ConceptError, PromptError, SamplerError
from vico.loaded_concept import LoadedConcept, load_concept
from vico.pipeline import PictureRequest, PipelineError, encode_pictures, generate, generate_latents
from vico.sampling import GuidanceInterval, initial_noise
from vico.streams import denoise, reference_features

REQUEST = PictureRequest(prompt="a photo of a * on the beach", seed=3, steps=3)


@pytest.fixture(scope="module")
def concept(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> LoadedConcept:
    path = make_concept(
        tmp_path_factory.mktemp("concepts"), sites=tiny_base.site_specs, base=tiny_base.digest, width=32, latent=16
    )
    return load_concept(tiny_base, read_package(path))


def test_plain_pictures_equal_the_library_pipeline(tiny_base: Base) -> None:
    theirs = StableDiffusionPipeline(
        vae=tiny_base.vae,
        text_encoder=tiny_base.text_encoder,
        tokenizer=tiny_base.tokenizer,
        unet=tiny_base.unet,
        scheduler=DDIMScheduler.from_pretrained(tiny_base.path / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    noise = torch.from_numpy(initial_noise(3, 0, (4, 16, 16)))[None]
    expected = theirs(
        "a photo of a dog",
        negative_prompt="bright",
        num_inference_steps=4,
        guidance_scale=5.0,
        latents=noise,
        output_type="latent",
    ).images
    request = PictureRequest("a photo of a dog", "bright", seed=3, steps=4, sampler="ddim", guidance_scale=5.0)
    torch.testing.assert_close(generate_latents(tiny_base, request), expected, rtol=1e-4, atol=1e-4)


def test_same_seed_same_picture_whatever_its_siblings(tiny_base: Base, concept: LoadedConcept) -> None:
    alone = generate_latents(tiny_base, REQUEST, concept)
    several = generate_latents(tiny_base, replace(REQUEST, num_images=3), concept)
    torch.testing.assert_close(several[:1], alone, rtol=0, atol=1e-3)
    assert not torch.allclose(several[1], several[0])
    assert torch.equal(generate_latents(tiny_base, REQUEST, concept), alone)


def test_image_guidance_zero_is_the_token_on_plain_stable_diffusion(tiny_base: Base, concept: LoadedConcept) -> None:
    off = generate_latents(tiny_base, replace(REQUEST, image_guidance=0.0), concept)
    other = LoadedConcept("*", concept.token_embedding, concept.blocks, torch.zeros_like(concept.references))
    assert torch.equal(off, generate_latents(tiny_base, replace(REQUEST, image_guidance=0.0), other))
    assert not torch.allclose(off, generate_latents(tiny_base, REQUEST, concept))


def test_without_guidance_the_negative_prompt_has_no_say(tiny_base: Base, concept: LoadedConcept) -> None:
    request = replace(REQUEST, guidance_scale=1.0)
    a, b = (generate_latents(tiny_base, replace(request, negative_prompt=n), concept) for n in ("", "dark"))
    assert torch.equal(a, b)


def test_outside_the_guidance_interval_the_positive_prompt_is_asked_alone(
    tiny_base: Base, concept: LoadedConcept
) -> None:
    never = replace(REQUEST, guidance_interval=GuidanceInterval(1e6, 1e7))
    unguided = generate_latents(tiny_base, replace(REQUEST, guidance_scale=1.0), concept)
    torch.testing.assert_close(generate_latents(tiny_base, never, concept), unguided)
    partly = generate_latents(tiny_base, replace(REQUEST, guidance_interval=GuidanceInterval(low=1.0)), concept)
    assert not torch.allclose(partly, unguided)
    assert not torch.allclose(partly, generate_latents(tiny_base, REQUEST, concept))


def test_several_references_of_which_one_is_repeated_change_nothing(tiny_base: Base, concept: LoadedConcept) -> None:
    """Attention over the same tokens twice is attention over them once."""
    twice = replace(concept, references=concept.references.repeat(2, 1, 1, 1))
    once = generate_latents(tiny_base, REQUEST, concept)
    torch.testing.assert_close(generate_latents(tiny_base, REQUEST, twice), once, rtol=1e-4, atol=1e-4)


@pytest.fixture
def reference_runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """(context, position) of every run of the reference stream."""
    seen = []

    def spied(*given: Any) -> Any:
        seen.append((given[4], given[5]))
        return reference_features(*given)

    monkeypatch.setattr("vico.pipeline.reference_features", spied)
    return seen


def test_with_a_fixed_context_the_reference_stream_is_the_same_for_every_prompt(
    tiny_base: Base, concept: LoadedConcept, reference_runs: list[tuple[Tensor, Tensor]]
) -> None:
    fixed = replace(concept, reference_context="concept", references=concept.references.repeat(2, 1, 1, 1))
    asked = replace(REQUEST, steps=1)
    generate_latents(tiny_base, asked, fixed)
    generate_latents(tiny_base, replace(asked, prompt="* in the snow", negative_prompt="dark", num_images=2), fixed)
    generate_latents(tiny_base, replace(asked, prompt="a photo of a *", guidance_scale=1.0), fixed)
    assert [len(context) for context, _ in reference_runs] == [2, 2, 2], "one row a reference for both halves"
    for context, position in reference_runs:
        torch.testing.assert_close(context, reference_runs[0][0])
        assert position.tolist() == [5, 5]


def test_a_fixed_context_equals_the_published_one_where_the_prompt_is_that_context(
    tiny_base: Base, concept: LoadedConcept
) -> None:
    request = replace(REQUEST, guidance_scale=1.0, prompt="a photo of a *")
    fixed = replace(concept, reference_context="concept")
    ours, published = generate_latents(tiny_base, request, fixed), generate_latents(tiny_base, request, concept)
    torch.testing.assert_close(ours, published, rtol=1e-4, atol=1e-4)
    other = replace(request, prompt="a * in the snow")
    assert not torch.allclose(generate_latents(tiny_base, other, fixed), generate_latents(tiny_base, other, concept))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_negative_half_attends_as_much_as_the_concept_says(
    tiny_base: Base,
    concept: LoadedConcept,
    share: float,
    monkeypatch: pytest.MonkeyPatch,
    reference_runs: list[tuple[Tensor, Tensor]],
) -> None:
    strengths = []

    def spied(*given: Any) -> Tensor:
        strengths.append(given[-1].tolist())
        return denoise(*given)

    monkeypatch.setattr("vico.pipeline.denoise", spied)
    asked = replace(REQUEST, steps=1, num_images=2, image_guidance=0.8)
    ours = generate_latents(tiny_base, asked, replace(concept, negative_image_guidance=share))
    assert strengths == [pytest.approx([0.8 * share] * 2 + [0.8] * 2)]
    assert len(reference_runs[0][0]) == (1 if share == 0 else 2), "what is not attended to is not computed"
    assert not torch.allclose(ours, generate_latents(tiny_base, asked, concept))
    alone = replace(asked, guidance_scale=1.0)
    unguided = generate_latents(tiny_base, alone, replace(concept, negative_image_guidance=share))
    assert torch.equal(unguided, generate_latents(tiny_base, alone, concept))


def test_strength_zero_is_the_base_with_the_learned_word_bit_for_bit(tiny_base: Base, concept: LoadedConcept) -> None:
    without = replace(concept, blocks=())
    for context in ("prompt", "concept"):
        off = generate_latents(
            tiny_base, replace(REQUEST, image_guidance=0.0), replace(concept, reference_context=context)
        )
        assert torch.equal(off, generate_latents(tiny_base, REQUEST, without))


def test_strength_scales_what_the_image_attention_adds(tiny_base: Base, concept: LoadedConcept) -> None:
    """With the block of the last site alone, ε is smooth in the strength: half of it adds about half."""
    zeroed = [
        {k: torch.zeros_like(v) if "to_out" in k or "ff.net.2" in k else v * 0.1 for k, v in block.items()}
        for block in concept.blocks
    ]
    faint = replace(concept, blocks=[*zeroed[:-1], {k: v * 0.1 for k, v in concept.blocks[-1].items()}])
    request = replace(REQUEST, steps=1, guidance_scale=1.0)
    off, half, full = (generate_latents(tiny_base, replace(request, image_guidance=g), faint) for g in (0.0, 0.5, 1.0))
    assert (full - off).norm() > 1e-3
    torch.testing.assert_close(half - off, (full - off) / 2, rtol=0.1, atol=0.05 * float((full - off).abs().max()))


def test_pictures_and_sizes(tiny_base: Base, concept: LoadedConcept) -> None:
    seen: list[tuple[int, int]] = []
    request = replace(REQUEST, height=40, width=24, num_images=2)
    pictures = generate(tiny_base, request, concept, on_step=lambda done, of: seen.append((done, of)))
    assert [p.size for p in pictures] == [(24, 40)] * 2
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert encode_pictures(tiny_base, pictures).shape == (2, 4, 20, 12)
    assert np.asarray(pictures[0]).dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"guidance_scale": float("nan")}, PipelineError, "guidance_scale"),
        ({"guidance_scale": 0.5}, PipelineError, "guidance_scale"),
        ({"image_guidance": -1.0}, PipelineError, "image_guidance"),
        ({"num_images": 0}, PipelineError, "num_images"),
        ({"seed": -1}, PipelineError, "seed"),
        ({"height": 30}, PipelineError, "height"),
        ({"width": -4}, PipelineError, "width"),
        ({"steps": 0}, SamplerError, "steps"),
        ({"sampler": "euler"}, SamplerError, "sampler"),
        ({"prompt": "a photo of a dog"}, PromptError, "prompt"),
        ({"prompt": "a * and a *"}, PromptError, "prompt"),
    ],
)
def test_refusals_name_the_field(
    tiny_base: Base, concept: LoadedConcept, change: dict[str, object], error: type[Exception], field: str
) -> None:
    with pytest.raises(error, match=f"^{field}: "):
        generate(tiny_base, replace(REQUEST, **change), concept)  # type: ignore[arg-type]


def test_concepts_of_another_base_are_refused_unless_forced(tiny_base: Base, tmp_path: Path) -> None:
    fits = read_package(make_concept(tmp_path, "fits", sites=tiny_base.site_specs, width=32, latent=16))
    with pytest.raises(ConceptError, match="another base"):
        load_concept(tiny_base, fits)
    assert load_concept(tiny_base, fits, force=True).references.shape == (1, 4, 16, 16)
    other = read_package(make_concept(tmp_path, "other", width=32))
    with pytest.raises(ConceptError, match="does not fit"):
        load_concept(tiny_base, other, force=True)
