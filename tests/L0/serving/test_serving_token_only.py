"""A token-only concept on the server: its word, no slot, no reference stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_serving_stages import Server, info_of

from serving.errors import ConceptRefused
from tests.helpers.concepts import make_concept, make_token_only
from vico.concept import read_package
from vico.errors import PromptError


def test_goes_the_whole_way_without_a_slot(tmp_path: Path) -> None:
    server = Server(tmp_path)
    make_token_only(server.registry_folder, "word")
    tensors = server.tensors(prompt="a photo of *", concept="word", steps=2, image_guidance=1.0)
    assert info_of(tensors)["concept"].startswith("word@")
    assert tensors["reference_latent"].shape[0] == 0
    assert server.engine.references.cache.size_bytes == 0
    assert not any(array.any() for array in server.engine.bank.arrays.values())
    learned = read_package(server.registry_folder / "word.safetensors").token_embedding
    np.testing.assert_array_equal(tensors["context"][1, 4], learned[0])


def test_is_a_whole_concept_of_strength_0_with_the_same_word(tmp_path: Path) -> None:
    server = Server(tmp_path)
    make_token_only(server.registry_folder, "word")
    make_concept(server.registry_folder, "toy")
    word = server.tensors(prompt="a *", concept="word", steps=2)
    toy = server.tensors(prompt="a *", concept="toy", steps=2, image_guidance=0.0)
    np.testing.assert_array_equal(word["latent"], toy["latent"])


def test_its_rules_are_those_of_any_concept(tmp_path: Path) -> None:
    server = Server(tmp_path)
    make_token_only(server.registry_folder, "word")
    with pytest.raises(PromptError, match="placeholder"):
        server.tensors(prompt="a photo", concept="word")
    make_token_only(server.registry_folder, "wide", width=7)
    with pytest.raises(ConceptRefused, match="1 x 7"):
        server.tensors(prompt="*", concept="wide")
    make_token_only(server.registry_folder, "foreign", base="cd" * 32)
    with pytest.raises(ConceptRefused, match="another base"):
        server.tensors(prompt="*", concept="foreign")
