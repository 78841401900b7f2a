"""CLIP and DINO out of local folders: tiny networks with random weights, in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from training.evaluation.chosen import load_encoders, parse_choice
from training.evaluation.clip import CLIP, DINO, ClipTextJudge, TransformersEncoder
from training.evaluation.draw import Drawn
from training.evaluation.encoder import BATCH, EncoderError
from training.evaluation.suite import Prompt

SIDE = 32
LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = ["a", "red", "blue", "bear", "cup"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    vision = LAYERS | {"image_size": SIDE, "patch_size": 8}
    letters = sorted(set("".join(WORDS)))
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    text = LAYERS | {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 24,
        "bos_token_id": len(vocabulary) - 2,
        "eos_token_id": len(vocabulary) - 1,
        "pad_token_id": len(vocabulary) - 1,
    }
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=24, unk_token="<|endoftext|>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**LAYERS, image_size=SIDE, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("name", [CLIP, DINO])
def test_features_are_directions_and_do_not_depend_on_the_batch(name: str, request: pytest.FixtureRequest) -> None:
    encoder = TransformersEncoder(name, request.getfixturevalue("clip" if name == CLIP else "dino"))
    many = pictures(BATCH + 3)
    features = encoder.encode(many)
    assert features.shape == (len(many), 8 if name == CLIP else 16)
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.allclose(features[-1], encoder.encode(many[-1:])[0], atol=1e-5)
    assert not np.allclose(features[0], features[1], atol=1e-4)


def test_the_text_score_is_the_cosine_with_the_init_words_prompt(clip: Path) -> None:
    prompts = [Prompt("attribute", "a red {}", "red"), Prompt("attribute", "a blue {}", "blue")]
    shown = pictures(2)
    drawn = [Drawn(prompt, 0, picture) for prompt, picture in zip(prompts, shown, strict=True)]
    judged = ClipTextJudge(clip, "bear").judge(drawn)
    assert judged.shape == (2,)
    assert np.abs(judged).max() <= 1
    assert np.allclose(judged[0], ClipTextJudge(clip, "bear").judge(drawn[:1]), atol=1e-5)
    assert abs(judged[0] - ClipTextJudge(clip, "cup").judge(drawn)[0]) > 1e-6, "the init word is in the prompt"
    swapped = [Drawn(prompts[1], 0, shown[0]), Drawn(prompts[0], 0, shown[1])]
    assert not np.allclose(ClipTextJudge(clip, "bear").judge(swapped), judged, atol=1e-6)


def test_the_choice_opens_them_by_folder(clip: Path, dino: Path) -> None:
    encoders = load_encoders(parse_choice(f"clip={clip},dino={dino}"))
    assert [encoder.name for encoder in encoders] == [CLIP, DINO]


def test_a_folder_that_holds_no_such_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError) as refused:
        TransformersEncoder(CLIP, tmp_path)
    assert refused.value.field == "encoders"
    assert "CLIP-I" in refused.value.problem
