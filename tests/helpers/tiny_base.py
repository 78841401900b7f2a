"""A complete base with random weights, small enough to make in every test session."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vico.base_files import MODEL_INDEX

WORDS = (
    "a photo of the my one is on in at table beach snow grass dog cat toy teapot backpack red blue good close up"
    " rendering cropped bright dark picture small large cool nice wooden , ."
)
BLOCK_WIDTHS = (32, 64)
CONTEXT_WIDTH = 32


def make_tiny_base(
    path: Path, *, seed: int = 0, block_widths: tuple[int, ...] = BLOCK_WIDTHS, layers_per_block: int = 1
) -> Path:
    """Write a diffusers folder of Stable Diffusion 1.x with random weights to `path` and return it (under a second).

    32-pixel pictures, 16 x 16 latents, four decoder transformers and so two sites, at two resolutions.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size = _write_tokenizer(path / "tokenizer")
        CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size,
                hidden_size=CONTEXT_WIDTH,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=size - 2,
                eos_token_id=size - 1,
                pad_token_id=size - 1,
            )
        ).save_pretrained(path / "text_encoder")
        AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            norm_num_groups=8,
            sample_size=32,
        ).save_pretrained(path / "vae")
        levels = len(block_widths)
        UNet2DConditionModel(
            sample_size=16,
            block_out_channels=block_widths,
            layers_per_block=layers_per_block,
            down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels,
            cross_attention_dim=CONTEXT_WIDTH,
            attention_head_dim=4,
            norm_num_groups=16,
        ).save_pretrained(path / "unet")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(path / "scheduler")
    _write_index(path)
    return path


def _write_tokenizer(folder: Path) -> int:
    """A CLIP tokenizer that knows `WORDS` and spells everything else; returns the size of its vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel

    characters = sorted(ByteLevel.alphabet())
    vocabulary = characters + [f"{c}</w>" for c in characters]
    merges = []
    for word in WORDS.split():
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merge = f"{pieces[0]} {pieces[1]}"
            pieces[:2] = [pieces[0] + pieces[1]]
            if merge not in merges:
                merges.append(merge)
                vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = "<|endoftext|>"
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True})
    )
    return len(vocabulary)


def _write_index(path: Path) -> None:
    (path / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2))
