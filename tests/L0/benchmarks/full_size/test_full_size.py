"""The full-size trial, on an architecture of the same levels and sites with small widths."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.full_size.architecture import SD15, TINY
from benchmarks.full_size.make_base import make_base
from benchmarks.full_size.record import Record
from benchmarks.full_size.trial import Trial, TrialError, _kill_after, try_out
from vico.base import load_base
from vico.concept import block_tensor_shapes
from vico.errors import BaseError

RECORD = Record("b", "r", 512, 4, 3, 51_249_728, 2**30, 24 * 2**30, 9.0, 8.0, 2, True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full-size") / "base"
    make_base(folder, TINY)
    return folder


def test_full_size_has_the_published_number_of_parameters() -> None:
    """On the meta device: the numbers of Stable Diffusion 1.5 without its memory."""
    from diffusers import UNet2DConditionModel

    from vico.sites import find_sites

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15.unet)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    sites = find_sites(unet)
    names = [
        "up_blocks.1.attentions.1",
        "up_blocks.2.attentions.0",
        "up_blocks.2.attentions.2",
        "up_blocks.3.attentions.1",
    ]
    assert [site.name for site in sites] == names
    shapes = [shape for site in sites for shape in block_tensor_shapes(site.channels).values()]
    # 20 C² + 17 C a block; "51.3 M" where it is published is 51.25 M rounded once more
    assert sum(torch.Size(shape).numel() for shape in shapes) == 51_248_960


def test_base_is_a_base(base: Path) -> None:
    loaded = load_base(base)
    assert [site.position for site in loaded.sites] == [1, 3, 5, 7]
    assert (loaded.vae_factor, loaded.size_multiple, loaded.default_size) == (8, 64, 64)
    assert loaded.encode_text("a photo of a cup")
    half = sum(f.stat().st_size for f in (base / "unet").glob("*.safetensors"))
    assert half < 2.2 * sum(p.numel() for p in loaded.unet.parameters())
    with pytest.raises(BaseError, match="is there already"):
        make_base(base, TINY)


def test_a_killed_and_resumed_run_is_the_whole_one(base: Path, tmp_path: Path) -> None:
    record = try_out(Trial(base, tmp_path, size=64, steps=3, batch_size=1))
    assert record.resumed_is_equal
    assert record.killed_after_step == 2
    assert 2**27 < record.peak_rss_bytes < record.limit_bytes
    sites = load_base(base).sites
    blocks = [torch.Size(s).numel() for site in sites for s in block_tensor_shapes(site.channels).values()]
    assert record.trainable_parameters == sum(blocks) + TINY.text_encoder["hidden_size"]


def test_runs_that_fail_are_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="exit code 1"):
        try_out(Trial(base, tmp_path, size=65, steps=3, batch_size=1))
    with pytest.raises(TrialError, match="before it was killed"):
        _kill_after(subprocess.Popen([sys.executable, "-c", ""]), tmp_path / "x.safetensors", 2)


def test_record(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["passed"] is True
    assert content["trainable_parameters"] == 51_249_728
    assert "51.25 M" in "\n".join(RECORD.lines())
    assert not replace(RECORD, resumed_is_equal=False).passed
    assert not replace(RECORD, peak_rss_bytes=25 * 2**30).passed
