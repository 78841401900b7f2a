from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vico.base import Base, load_base
from vico.base_files import base_digest, read_schedule
from vico.errors import BaseError
from vico.sampling import NoiseSchedule


@pytest.fixture
def folder(tiny_base_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_numbers_of_the_tiny_base(tiny_base: Base) -> None:
    assert [site.name for site in tiny_base.sites] == ["up_blocks.0.attentions.1", "up_blocks.1.attentions.1"]
    assert (tiny_base.vae_factor, tiny_base.size_multiple, tiny_base.default_size) == (2, 4, 32)
    assert tiny_base.schedule == NoiseSchedule()
    spec = tiny_base.tokenizer_spec
    assert spec.eos_id == max(spec.bos_id, spec.eos_id, len(tiny_base.tokenizer) - 1)
    assert spec.placeholder_id not in tiny_base.tokenizer.all_special_ids


def test_networks_are_frozen_and_in_evaluation_mode(tiny_base: Base) -> None:
    for network in (tiny_base.unet, tiny_base.vae, tiny_base.text_encoder):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())


def test_half_precision_files_load_into_the_precision_asked_for(folder: Path) -> None:
    for component, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        file = folder / component / f"{stem}.safetensors"
        halves = {name: tensor.half() for name, tensor in load_file(file).items()}
        save_file(halves, folder / component / f"{stem}.fp16.safetensors", metadata={"format": "pt"})
        file.unlink()
    base = load_base(folder, dtype=torch.float32)
    for network in (base.unet, base.vae, base.text_encoder):
        assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_digest_is_of_the_content_not_of_the_place(folder: Path, tiny_base_folder: Path) -> None:
    assert base_digest(folder) == base_digest(tiny_base_folder)
    (folder / "README.md").write_text("not part of it")
    assert base_digest(folder) == base_digest(tiny_base_folder)
    _edit(folder / "scheduler" / "scheduler_config.json", beta_end=0.013)
    assert base_digest(folder) != base_digest(tiny_base_folder)


def test_digest_sees_a_renamed_file(folder: Path, tiny_base_folder: Path) -> None:
    (folder / "tokenizer" / "merges.txt").rename(folder / "tokenizer" / "merges2.txt")
    assert base_digest(folder) != base_digest(tiny_base_folder)


def test_one_file_is_tokenizer_enough(folder: Path, tiny_base: Base) -> None:
    """What `save_pretrained` of transformers 5 writes."""
    shutil.rmtree(folder / "tokenizer")
    tiny_base.tokenizer.save_pretrained(folder / "tokenizer")
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).unlink(missing_ok=True)
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    base = load_base(folder)
    assert base.tokenizer_spec == tiny_base.tokenizer_spec
    for text in ("a photo of a cat on the beach", "Wooden,  TEAPOT!", "strange wörds 42", ""):
        assert base.encode_text(text) == tiny_base.encode_text(text)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(BaseError, match=r"tokenizer/vocab\.json is missing"):
        load_base(folder)


def test_folder_that_is_not_a_base(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="is not a folder"):
        load_base(tmp_path / "absent")
    with pytest.raises(BaseError, match=r"text_encoder/config\.json is missing"):
        load_base(tmp_path)
    with pytest.raises(BaseError, match="is not a base folder"):
        base_digest(tmp_path)


def test_missing_weights_and_pickles_are_named(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BaseError, match="unet/ holds pickled weights only"):
        load_base(folder)
    weights.with_suffix(".bin").unlink()
    with pytest.raises(BaseError, match="unet/ holds no weights"):
        load_base(folder)


def test_torn_weights_are_refused(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseError, match="base"):
        load_base(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "prediction_type is 'v_prediction'"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "squaredcos_cap_v2"}, "'beta_schedule' is wrong"),
    ],
)
def test_bases_of_another_family_are_refused(folder: Path, file: str, change: dict[str, object], message: str) -> None:
    _edit(folder / file, **change)
    with pytest.raises(BaseError, match=message):
        load_base(folder)


def test_schedule_that_is_not_json(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(BaseError, match="is not JSON"):
        read_schedule(folder)
