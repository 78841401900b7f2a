from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.published import random_blocks, write_blocks
from vico.concept import BLOCK_TENSORS, SiteSpec
from vico.interop.errors import CheckpointError
from vico.interop.image_blocks import published_names, read_image_blocks

SITES = (SiteSpec("up_blocks.0.attentions.1", 8, 2), SiteSpec("up_blocks.1.attentions.0", 4, 2))
LAYERS = 1
SD15 = tuple(
    SiteSpec(f"up_blocks.{level}.attentions.{number}", channels, 8)
    for level, number, channels in ((1, 1, 1280), (2, 0, 640), (2, 2, 640), (3, 1, 320))
)


def test_names_on_stable_diffusion_1_are_the_published_ones() -> None:
    names = published_names(SD15, 2)
    assert len(names) == 4 * 20
    prefixes = [f"diffusion_model.output_blocks.{n}.1.image_cross_attention." for n in (4, 6, 8, 10)]
    assert list(names.values()) == [prefix + tensor for prefix in prefixes for tensor in BLOCK_TENSORS]


@st.composite
def levels(draw: st.DrawFn) -> tuple[int, tuple[SiteSpec, ...]]:
    """Layers a level, and some decoder transformers of such a U-Net."""
    layers = draw(st.integers(1, 4))
    places = st.tuples(st.integers(0, 5), st.integers(0, layers))
    chosen = sorted(draw(st.sets(places, min_size=1, max_size=4)))
    return layers, tuple(SiteSpec(f"up_blocks.{level}.attentions.{number}", 4, 2) for level, number in chosen)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=levels(), zipped=st.booleans(), prefix=st.sampled_from(["", "diffusion_model.", "model.diffusion_model."]))
def test_every_tensor_comes_back(
    tmp_path: Path, shape: tuple[int, tuple[SiteSpec, ...]], zipped: bool, prefix: str
) -> None:
    layers, sites = shape
    tensors = random_blocks(sites, layers)
    written = {prefix + name.removeprefix("diffusion_model."): tensor for name, tensor in tensors.items()}
    found = read_image_blocks(write_blocks(tmp_path / "c.pt", written, zipped=zipped), sites, layers)
    assert found.keys() == published_names(sites, layers).keys()
    for ours, theirs in published_names(sites, layers).items():
        np.testing.assert_array_equal(found[ours], tensors[theirs].numpy())


def _with(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    def apply(tensors: dict[str, Tensor]) -> None:
        tensors[_FIRST + name] = change(tensors[_FIRST + name])

    return apply


_FIRST = "diffusion_model.output_blocks.1.1.image_cross_attention."
_SECOND = "diffusion_model.output_blocks.2.1.image_cross_attention."


def _drop(prefix: str) -> Callable[[dict[str, Tensor]], None]:
    def apply(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return apply


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_drop(_SECOND), "site up_blocks.1.attentions.0 (output_blocks.2.1.image_cross_attention) is missing"),
        (_drop(_FIRST + "norm2.bias"), "tensor 'norm2.bias' at up_blocks.0.attentions.1 is missing"),
        (_with("attn1.to_q.weight", lambda t: t[:4]), "shape [4, 8]; accepted: [8, 8]"),
        (_with("ff.net.2.bias", lambda t: t * float("nan")), "'ff.net.2.bias' at up_blocks.0.attentions.1 holds NaN"),
        (_with("ff.net.2.bias", lambda t: t.long()), "int64"),
        (lambda t: t.update({_FIRST + "attn3.to_q.weight": torch.zeros(1)}), "'attn3.to_q.weight' at up_blocks.0"),
        (lambda t: t.update({"diffusion_model.out.2.bias": torch.zeros(1)}), "'out.2.bias' is no part"),
        (lambda t: t.update({"x.image_cross_attention.norm1.bias": torch.zeros(1)}), "image blocks in the decoder"),
        (lambda t: t.update({_FIRST.replace("1.1", "3.1") + "norm1.bias": torch.zeros(4)}), "is none of this base's"),
        (lambda t: t.update({_FIRST.removeprefix("diffusion_model.") + "norm1.bias": torch.zeros(8)}), "stands twice"),
        (lambda t: t.update({_FIRST.replace("1.1", "9" * 5000 + ".1"): torch.zeros(8)}), "characters"),
        (lambda t: t.clear(), "is missing"),
    ],
)
def test_wrong_content_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], problem: str
) -> None:
    tensors = random_blocks(SITES, LAYERS)
    change(tensors)
    with pytest.raises(CheckpointError) as caught:
        read_image_blocks(write_blocks(tmp_path / "c.pt", tensors), SITES, LAYERS)
    assert problem in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.field == "cross-attention"
