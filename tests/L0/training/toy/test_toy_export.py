"""What is exported can be loaded, sampled and trained on from there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.toy.adopt import adopt_base
from training.toy.catalogue import entries
from training.toy.export import export_base
from training.toy.latents import LatentSet
from training.toy.loop import append_curve, read_curve
from training.toy.parts import AutoencoderKL, UNet2DConditionModel
from training.toy.paths import Work
from training.toy.sampling import sample
from training.toy.stages import write_curves
from training.toy.tokens import write_tokenizer
from training.toy.unet import Denoiser, UnetRecipe, averaged_model, train_unet
from training.toy.vae import build_vae


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained base, exported."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("base")
    work = Work(root / "work")
    tokenizer = write_tokenizer(work.tokenizer)
    append_curve(work.vae / "curve.jsonl", step=1, psnr=9.0)
    append_curve(work.unet / "curve.jsonl", pictures=32, seconds=5.0, loss=1.0)
    vae = build_vae()
    vae.register_to_config(scaling_factor=0.18215)
    export_base(root / "base", Denoiser(tokenizer), vae, work.tokenizer)
    write_curves(work, root / "base")
    return root / "base"


def test_an_exported_base_is_adopted_sampled_and_trained_on(base: Path, tmp_path: Path) -> None:
    work = Work(tmp_path)
    adopt_base(base, work)
    tokenizer = write_tokenizer(work.tokenizer)
    model, steps = averaged_model(work.unet, tokenizer)
    assert steps == 32 // UnetRecipe().batch
    exported = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32)
    torch.testing.assert_close(model.unet.conv_in.weight, exported.conv_in.weight)

    vae = AutoencoderKL.from_pretrained(work.vae / "final").eval()
    pictures = sample(model.unet, model.text_encoder, vae, tokenizer, ["a cat", "a dog"], seed=1, steps=2)
    again = sample(model.unet, model.text_encoder, vae, tokenizer, ["a dog"], seed=2, steps=2)
    assert pictures.shape == (2, 64, 64, 3)
    assert np.abs(pictures[1].astype(int) - again[0]).max() <= 2  # a picture does not depend on its batch

    data = LatentSet(np.zeros((32, 4, 16, 16), dtype=np.float16), ("a cat",) * 32)
    train_unet(data, tokenizer, vae, work.unet, UnetRecipe(sheet_seconds=None), seconds=0.0)
    assert averaged_model(work.unet, tokenizer)[1] == steps + 1
    assert len(read_curve(work.unet / "curve.jsonl")) == 2
    with pytest.raises(FileExistsError, match="holds a training already"):
        adopt_base(base, work)


def test_catalogue_entries() -> None:
    text = "license=Public domain\nid#1=A#b\nname#1=Chair \n\nid#2=A#c\nname#2=Tea = pot\n# comment"
    assert entries(text) == [{"id": "A#b", "name": "Chair"}, {"id": "A#c", "name": "Tea = pot"}]
