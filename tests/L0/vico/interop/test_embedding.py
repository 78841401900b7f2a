from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.published import write_embedding
from vico.interop.embedding import read_embedding
from vico.interop.errors import CheckpointError

VECTORS = torch.arange(12, dtype=torch.float32).reshape(2, 6)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("parameter_dict", [True, False])
def test_published(tmp_path: Path, zipped: bool, parameter_dict: bool) -> None:
    path = write_embedding(tmp_path / "e.pt", VECTORS[:1], zipped=zipped, parameter_dict=parameter_dict)
    np.testing.assert_array_equal(read_embedding(path, 6), VECTORS[:1].numpy())


def test_diffusers_and_a1111(tmp_path: Path) -> None:
    whole = {
        "d.bin": {"<cat-toy>": VECTORS[0]},
        "v.bin": {"<cat-toy>": VECTORS},
        "a.pt": {
            "string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "cat", "sd_checkpoint": None,
        },
    }  # fmt: skip
    for name, content in whole.items():
        found = read_embedding(saved(tmp_path / name, content), 6)
        np.testing.assert_array_equal(found, VECTORS[:1].numpy() if name == "d.bin" else VECTORS.numpy())
    for number, (word, tensor) in enumerate({"<cat-toy>": VECTORS[0], "emb_params": VECTORS.half()}.items()):
        save_file({word: tensor.clone()}, tmp_path / f"{number}.safetensors")
        found = read_embedding(tmp_path / f"{number}.safetensors", 6)
        np.testing.assert_array_equal(found, np.atleast_2d(tensor.float().numpy()))
        assert found.dtype == np.float32


def test_one_of_several_tokens(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.bin", {"<a>": VECTORS[0], "<b>": VECTORS[1]})
    np.testing.assert_array_equal(read_embedding(path, 6, "<b>"), VECTORS[1:].numpy())
    with pytest.raises(CheckpointError, match=r"holds 2 tokens; accepted: --token with one of '<a>', '<b>'"):
        read_embedding(path, 6)
    with pytest.raises(CheckpointError, match="no token '<c>'"):
        read_embedding(path, 6, "<c>")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"<a>": VECTORS[:, :5].clone()}, "token '<a>' is 2 x 5; accepted: 1 to 16 vectors of this base's 6"),
        ({"<a>": torch.zeros(17, 6)}, "17 x 6"),
        ({"<a>": torch.zeros(1, 1, 6)}, "1 x 1 x 6"),
        ({"<a>": torch.tensor(3.0)}, "one number"),
        ({"<a>": torch.zeros(6, dtype=torch.int64)}, "int64"),
        ({"<a>": torch.full((6,), float("nan"))}, "NaN"),
        ({"<a>": torch.full((6,), 1e300, dtype=torch.float64)}, "infinity"),
        ({"<a>": "text"}, "'<a>' of it is not a tensor"),
        ({"string_to_param": VECTORS}, "string_to_param is no dict"),
        ({"string_to_param": {}}, "no token"),
        ({}, "no token"),
        ({"clip_l": torch.zeros(1, 6), "clip_g": torch.zeros(1, 6)}, "Stable Diffusion XL"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_wrong_content_is_refused_by_name(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_embedding(saved(tmp_path / "e.pt", content), 6)
    assert problem in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
