"""A token-only concept: the learned word, on plain Stable Diffusion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.concepts import make_concept, make_manifest, make_tensors, make_token_only
from vico.base import Base
from vico.concept import read_package, write_package
from vico.errors import ConceptError
from vico.loaded_concept import load_concept
from vico.pipeline import PictureRequest, generate_latents

REQUEST = PictureRequest("a photo of a *", seed=3, steps=2, image_guidance=1.0)


def test_holds_one_tensor(tmp_path: Path) -> None:
    package = read_package(make_token_only(tmp_path, vectors=2))
    assert package.manifest.token_only
    assert set(package.tensors) == {"token_embedding"}
    assert package.references.shape[0] == 0
    assert not read_package(make_concept(tmp_path)).manifest.token_only


@pytest.mark.parametrize("extra", ["references", "image_attention.up_blocks.1.attentions.0.norm1.weight"])
def test_takes_nothing_else(tmp_path: Path, extra: str) -> None:
    tensors = make_tensors()
    kept = {name: tensors[name] for name in ("token_embedding", extra)}
    with pytest.raises(ConceptError, match="is not part of a concept"):
        write_package(tmp_path / "word.safetensors", make_manifest("word", ()), kept)


def test_is_its_word_on_the_plain_base(tiny_base: Base, tmp_path: Path) -> None:
    width = tiny_base.context_width
    word = make_token_only(tmp_path, base=tiny_base.digest, width=width)
    whole = make_concept(tmp_path, sites=tiny_base.site_specs, base=tiny_base.digest, width=width, latent=16)
    token, concept = (load_concept(tiny_base, read_package(path)) for path in (word, whole))
    concept = replace(concept, token_embedding=token.token_embedding)
    pictures = generate_latents(tiny_base, REQUEST, token)
    assert torch.equal(pictures, generate_latents(tiny_base, replace(REQUEST, image_guidance=0.0), concept))
    assert not torch.equal(pictures, generate_latents(tiny_base, REQUEST, concept))
    other = replace(token, token_embedding=torch.zeros_like(token.token_embedding))
    assert not torch.equal(pictures, generate_latents(tiny_base, REQUEST, other))


def test_of_another_width_or_base_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="does not fit"):
        load_concept(tiny_base, read_package(make_token_only(tmp_path, base=tiny_base.digest)))
    with pytest.raises(ConceptError, match="another base"):
        load_concept(tiny_base, read_package(make_token_only(tmp_path, width=tiny_base.context_width)))


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    bad = {"token_embedding": np.full((1, 6), np.nan, np.float32)}
    with pytest.raises(ConceptError, match="NaN"):
        write_package(tmp_path / "word.safetensors", make_manifest("word", ()), bad)
