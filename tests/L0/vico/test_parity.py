from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file, save_file

from vico.errors import BaseError
from vico.golden import GOLDEN_CFG, write_golden_folder
from vico.ldm import decoder_transformer, image_block_prefix, names_to_ldm, unet_config
from vico.parity import check_folder, main
from vico.parity_model import CASES, CONFIG, WEIGHTS, load_model

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "parity"
SHARED = REPOSITORY.parent / "shared" / "parity"

published = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the published reference tensors are not on this machine (../shared/parity)"
)


@published
def test_equals_the_published_implementation() -> None:
    errors = check_folder(SHARED)
    assert {e.case for e in errors} == set("abcdr")
    assert all(e.passed for e in errors), errors


def test_golden_tensors_are_reproduced() -> None:
    errors = check_folder(GOLDEN)
    assert [e.case for e in errors] == [*"abdr", *"abdr"]
    assert all(e.passed for e in errors), errors


def test_golden_folder_is_what_the_command_writes(tmp_path: Path) -> None:
    write_golden_folder(tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text()) == json.loads((GOLDEN / CONFIG).read_text())
    found, kept = load_file(tmp_path / CASES), load_file(GOLDEN / CASES)
    assert found.keys() == kept.keys()
    for name, tensor in kept.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-9)


CONFIGURATIONS = [
    {"channel_mult": [1, 2, 2], "attention_resolutions": [2, 4], "num_heads": 4},
    {"num_head_channels": 16, "num_heads": -1, "channel_mult": [1, 2]},
    {"num_res_blocks": 2, "attention_resolutions": [1], "context_dim": 24},
]


@pytest.mark.parametrize("changes", CONFIGURATIONS)
def test_other_configurations(tmp_path: Path, changes: dict[str, object]) -> None:
    write_golden_folder(tmp_path, {**GOLDEN_CFG, **changes})
    assert all(e.passed for e in check_folder(tmp_path))


def test_sites_come_from_the_weights(tmp_path: Path) -> None:
    """The published code counts encoder and middle too, so other depths move the sites to even transformers."""
    shutil.copytree(GOLDEN, tmp_path / "even")
    tensors = load_file(GOLDEN / WEIGHTS)
    moved = {name.replace("output_blocks.1.1.image", "output_blocks.0.1.image"): t for name, t in tensors.items()}
    save_file(moved, tmp_path / "even" / WEIGHTS)
    names = [site.name for site in load_model(tmp_path / "even", torch.float32).sites]
    assert names == ["up_blocks.0.attentions.0", "up_blocks.1.attentions.1"]


@pytest.mark.parametrize("changes", [{}, *CONFIGURATIONS, {"channel_mult": [1, 1, 1, 1], "num_res_blocks": 3}])
def test_names_agree_with_the_library_conversion(changes: dict[str, object]) -> None:
    unet = UNet2DConditionModel(**unet_config({**GOLDEN_CFG, **changes}))
    ours = {name: torch.tensor(i) for i, name in enumerate(names_to_ldm(unet))}
    plain = {f"model.diffusion_model.{ldm}": ours[name] for name, ldm in names_to_ldm(unet).items()}
    theirs = convert_ldm_unet_checkpoint(plain, unet.config)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours)


@pytest.mark.parametrize("number", range(12))
def test_place_of_an_output_block_and_back(number: int) -> None:
    prefix = image_block_prefix(decoder_transformer(number, layers=2), layers=2)
    assert prefix == f"output_blocks.{number}.1.image_cross_attention."


def test_wrong_results_fail(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "wrong")
    cases = load_file(GOLDEN / CASES)
    cases["a.mask0"] = 1 - cases["a.mask0"]
    cases["b.eps"] = cases["b.eps"] + 1e-8
    cases["r.loss_reg"] = cases["r.loss_reg"] + 1e-8
    save_file(cases, tmp_path / "wrong" / CASES)
    failed = [(e.case, e.dtype) for e in check_folder(tmp_path / "wrong") if not e.passed]
    assert failed == [(case, torch.float64) for case in "abr"]
    with pytest.raises(Exception) as stop:  # noqa: PT011 - typer's Exit
        main(tmp_path / "wrong")
    assert getattr(stop.value, "exit_code", None) == 1


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="is missing"):
        check_folder(tmp_path)
    shutil.copytree(GOLDEN, tmp_path / "torn")
    tensors = load_file(GOLDEN / WEIGHTS)
    del tensors["unet.out.2.bias"]
    save_file(tensors, tmp_path / "torn" / WEIGHTS)
    with pytest.raises(BaseError, match=r"out\.2\.bias is missing"):
        load_model(tmp_path / "torn", torch.float32)
    (tmp_path / "torn" / WEIGHTS).write_bytes(b"no")
    with pytest.raises(BaseError, match="cannot be read"):
        load_model(tmp_path / "torn", torch.float32)


def test_what_stable_diffusion_1_does_not_have_is_refused() -> None:
    for name, value in (("transformer_depth", 2), ("resblock_updown", True), ("num_classes", 10)):
        with pytest.raises(BaseError, match=f"^{name}: {value}; accepted"):
            unet_config({**GOLDEN_CFG, name: value})
