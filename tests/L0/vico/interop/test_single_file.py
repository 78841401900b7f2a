"""A single-file checkpoint, made by the inverse conversion, becomes the base that it was made of."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vico.base import Base, load_base
from vico.base_files import base_digest
from vico.errors import BaseError
from vico.interop.clip_vocabulary import byte_letters, write_clip_vocabulary
from vico.interop.sd1 import SD1, Architecture
from vico.interop.single_file import import_base
from vico.ldm import names_to_ldm

_VAE_PARTS = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "resnets": "block",
    "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out", "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}  # fmt: skip


def vae_to_ldm(name: str, tensor: Tensor, levels: int) -> tuple[str, Tensor]:
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("down_blocks", "down")
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    for ours, theirs in _VAE_PARTS.items():
        name = name.replace(ours, theirs)
    if "attn_1" in name and tensor.dim() == 2:
        tensor = tensor[:, :, None, None]
    return f"first_stage_model.{name}", tensor


def checkpoint_of(base: Base) -> dict[str, Tensor]:
    unet = names_to_ldm(base.unet)
    tensors = {f"model.diffusion_model.{unet[name]}": t for name, t in base.unet.state_dict().items()}
    levels = len(base.vae.config["block_out_channels"])
    tensors |= dict(vae_to_ldm(name, t, levels) for name, t in base.vae.state_dict().items())
    words = load_file(base.path / "text_encoder" / "model.safetensors")
    # transformers 5 leaves the outermost name out on disk too; checkpoints have it
    text = "cond_stage_model.transformer.text_model."
    tensors |= {text + name.removeprefix("text_model."): t for name, t in words.items()}
    tensors["alphas_cumprod"] = torch.ones(1000)
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors["model_ema.decay"] = torch.ones(())
    return {name: t.clone().contiguous() for name, t in tensors.items()}


def architecture_of(folder: Path) -> Architecture:
    def config(component: str) -> dict[str, Any]:
        content = json.loads((folder / component / "config.json").read_text())
        return {name: value for name, value in content.items() if not name.startswith("_")}

    return Architecture(config("unet"), config("vae"), config("text_encoder"), SD1.scheduler)


@pytest.fixture
def architecture(tiny_base_folder: Path) -> Architecture:
    return architecture_of(tiny_base_folder)


@pytest.fixture
def checkpoint(tiny_base: Base, tmp_path: Path) -> Path:
    save_file(checkpoint_of(tiny_base), tmp_path / "model.safetensors")
    shutil.copytree(tiny_base.path / "tokenizer", tmp_path / "tokenizer")
    return tmp_path / "model.safetensors"


def test_the_base_comes_back(checkpoint: Path, tiny_base: Base, architecture: Architecture, tmp_path: Path) -> None:
    import_base(checkpoint, tmp_path / "base", architecture=architecture)
    base = load_base(tmp_path / "base")
    for component in ("unet", "vae", "text_encoder"):
        found, expected = getattr(base, component).state_dict(), getattr(tiny_base, component).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert base.schedule == tiny_base.schedule
    assert base.encode_text("a photo of a cat") == tiny_base.encode_text("a photo of a cat")
    assert base.site_specs == tiny_base.site_specs


def test_digest_is_stable(checkpoint: Path, architecture: Architecture, tmp_path: Path) -> None:
    for name in ("one", "two"):
        import_base(checkpoint, tmp_path / name, architecture=architecture)
    assert base_digest(tmp_path / "one") == base_digest(tmp_path / "two")
    assert "version" not in (tmp_path / "one" / "unet" / "config.json").read_text()


def test_half_precision_stays(checkpoint: Path, architecture: Architecture, tmp_path: Path) -> None:
    halves = {name: t.half() if t.is_floating_point() else t for name, t in load_file(checkpoint).items()}
    save_file(halves, checkpoint)
    import_base(checkpoint, tmp_path / "base", architecture=architecture)
    kept = load_file(tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in kept.values()} == {torch.float16}
    assert load_base(tmp_path / "base").unet.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("model.diffusion_model.out.2.bias", None, "tensor conv_out.bias of its U-Net is missing"),
        ("first_stage_model.quant_conv.bias", None, "tensor quant_conv.bias of its VAE is missing"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", None, "of its text encoder is missing"),
        ("model.diffusion_model.out.2.bias", torch.zeros(9), r"conv_out.bias of its U-Net is \[9\] float32"),
        ("model.diffusion_model.out.2.bias", torch.zeros(4).long(), "int64"),
    ],
)
def test_what_is_lacking_is_named(
    checkpoint: Path, architecture: Architecture, tmp_path: Path, name: str, change: Tensor | None, problem: str
) -> None:
    tensors = load_file(checkpoint)
    del tensors[name]
    save_file(tensors if change is None else {**tensors, name: change}, checkpoint)
    with pytest.raises(BaseError, match=problem):
        import_base(checkpoint, tmp_path / "base", architecture=architecture)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.safetensors", "tokenizer"]


def test_another_family_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="of its U-Net is"):
        import_base(checkpoint, tmp_path / "base")


def test_torn_absent_and_standing_files(checkpoint: Path, architecture: Architecture, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"gone\.safetensors is not a file"):
        import_base(tmp_path / "gone.safetensors", tmp_path / "base")
    with pytest.raises(BaseError, match="is there already"):
        import_base(checkpoint, tmp_path / "tokenizer")
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(BaseError, match="is torn"):
        import_base(checkpoint, tmp_path / "base", architecture=architecture)


def test_without_a_tokenizer(
    checkpoint: Path, architecture: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shutil.rmtree(tmp_path / "tokenizer")
    with pytest.raises(BaseError, match="--tokenizer with the tokenizer/ folder"):
        import_base(checkpoint, tmp_path / "base", architecture=architecture)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseError, match="empty/ holds no CLIP tokenizer"):
        import_base(checkpoint, tmp_path / "base", tmp_path / "empty", architecture)


def test_a_file_where_a_base_is_asked_for(checkpoint: Path) -> None:
    with pytest.raises(BaseError, match=r"vico import-base model\.safetensors"):
        load_base(checkpoint)


def test_vocabulary_of_the_wheel(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    with gzip.open(tmp_path / "bpe.txt.gz", "wt", encoding="utf-8") as file:
        file.write("#version\nc a\nca t</w>\n")
    write_clip_vocabulary(tmp_path / "bpe.txt.gz", tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert len(set(byte_letters())) == 256
    assert (vocabulary["!"], vocabulary["!</w>"], vocabulary["ca"], vocabulary["cat</w>"]) == (0, 256, 512, 513)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert tokenizer("cat a")["input_ids"] == [514, 513, vocabulary["a</w>"], 515]
