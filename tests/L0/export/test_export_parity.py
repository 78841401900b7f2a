"""The check itself: it passes what is right and names what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.cases import Case, cases
from export.check import FLOAT, check_graph, deviation_table
from export.errors import ParityError
from export.modules import build_module
from export.signatures import GRAPH_NAMES
from tests.helpers.tiny_graphs import ExportedBase
from vico.base import Base
from vico.concept.graphset import GraphName


def _cases(base: Base, exported: ExportedBase, name: GraphName) -> Iterator[Case]:
    return cases(build_module(base, name), exported.signature(name), exported.geometry)


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_every_graph_equals_torch(base: Base, exported: ExportedBase, name: GraphName) -> None:
    deviations = check_graph(exported.form(name), exported.signature(name), _cases(base, exported, name))
    assert max(deviation.error for deviation in deviations) <= FLOAT.error / 10
    assert all(deviation.mask_error == 0 for deviation in deviations)
    assert {1, 3} == {deviation.rows for deviation in deviations}
    assert all(deviation.greatest > 0.01 for deviation in deviations), "compared with nothing"


def test_the_denoiser_is_asked_what_it_promises(base: Base, exported: ExportedBase) -> None:
    labels = [case.label for case in _cases(base, exported, "denoiser")]
    assert {"mixed slots", "empty mask", "pruned and padded", "no concept = plain U-Net"} < set(labels)


def test_an_altered_weight_is_found_and_named(base: Base, exported: ExportedBase, tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    shutil.copytree(exported.path("vae_decoder").parent, folder)
    data = folder / "model.onnx.data"
    weights = np.frombuffer(data.read_bytes(), np.float32).copy()
    weights[: len(weights) // 2] += 0.01
    data.write_bytes(weights.tobytes())
    with pytest.raises(ParityError, match=r"^vae_decoder: .* off torch") as caught:
        check_graph(
            folder / exported.form("vae_decoder").name,
            exported.signature("vae_decoder"),
            _cases(base, exported, "vae_decoder"),
        )
    assert caught.value.field == "vae_decoder"


@pytest.mark.parametrize("wrong", [torch.tensor(float("nan")), torch.tensor(1e-2)])
def test_a_wrong_number_is_out_of_tolerance(base: Base, exported: ExportedBase, wrong: torch.Tensor) -> None:
    case = next(_cases(base, exported, "vae_encoder"))
    altered = case.expected[0].clone()
    altered[0, 0, 0, 0] += wrong
    with pytest.raises(ParityError, match="vae_encoder"):
        check_graph(
            exported.form("vae_encoder"),
            exported.signature("vae_encoder"),
            [replace(case, expected=(altered,))],
        )


def test_a_wrong_mask_is_out_of_tolerance(base: Base, exported: ExportedBase) -> None:
    case = next(_cases(base, exported, "reference_encoder"))
    expected = (*case.expected[:-1], 1 - case.expected[-1])
    with pytest.raises(ParityError, match="masks 100"):
        check_graph(
            exported.form("reference_encoder"),
            exported.signature("reference_encoder"),
            [replace(case, expected=expected)],
        )


def test_a_wrong_shape_is_out_of_tolerance(base: Base, exported: ExportedBase) -> None:
    case = next(_cases(base, exported, "vae_encoder"))
    with pytest.raises(ParityError):
        check_graph(
            exported.form("vae_encoder"),
            exported.signature("vae_encoder"),
            [replace(case, expected=(case.expected[0][..., :1],))],
        )


def test_the_table_has_a_line_for_every_case(base: Base, exported: ExportedBase) -> None:
    deviations = check_graph(
        exported.form("vae_encoder"), exported.signature("vae_encoder"), _cases(base, exported, "vae_encoder")
    )
    table = deviation_table(deviations)
    assert table.row_count == len(deviations) == 2
