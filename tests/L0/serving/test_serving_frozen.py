"""What is served is what was there at the start, whatever is written to the operator's folder later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_runners import GRAPHSET
from onnx import TensorProto, helper, numpy_helper

from serving.config import ServingConfig
from serving.errors import GraphError
from serving.frozen import freeze
from serving.runner import open_runner
from vico.concept import write_graphset

WEIGHT = 3.0


def write_graph(path: Path, weight: float) -> None:
    """y = x · weight, with the weight in a file of its own, as the real graphs have theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = numpy_helper.from_array(np.full(1024, weight, np.float32), "w")
    shape = [TensorProto.FLOAT, [1024]]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", *shape)],
        [helper.make_tensor_value_info("y", *shape)],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)


@pytest.fixture
def config(tmp_path: Path) -> ServingConfig:
    graphs = tmp_path / "graphs"
    write_graphset(graphs, GRAPHSET)
    (graphs / "tokenizer.json").write_text("{}")
    for spec in GRAPHSET.targets["onnx"].values():
        write_graph(graphs / spec.file, WEIGHT)
    (graphs / "models" / "vico" / "1").mkdir(parents=True)
    (graphs / "models" / "vico" / "1" / "model.py").write_text("GOOD = 1\n")
    return ServingConfig(graphs, tmp_path)


def opened(config: ServingConfig) -> float:
    """What the denoiser multiplies by."""
    runner = open_runner(config, GRAPHSET, "denoiser")
    return float(runner.run({"x": np.ones(1024, np.float32)})["y"][0])


def linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is on one disk."""


def on_another_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)


@pytest.mark.parametrize("disk", [linked, on_another_disk])
def test_what_is_frozen_runs(
    config: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Callable[[pytest.MonkeyPatch], None]
) -> None:
    disk(monkeypatch)
    frozen = freeze(config, tmp_path / "run")
    assert frozen == replace(config, graphs=tmp_path / "run")
    assert opened(frozen) == WEIGHT
    assert list((tmp_path / "run" / "models").rglob("*.pyc")), "compiled before Triton looks"
    assert not list(config.graphs.rglob("*.pyc")), "and not in the operator's folder"


def test_models_and_descriptions_written_later_are_not_served(config: ServingConfig, tmp_path: Path) -> None:
    frozen = freeze(config, tmp_path / "run")
    for name in ("models/vico/1/model.py", "tokenizer.json", "graphset.json"):
        before = (frozen.graphs / name).read_bytes()
        (config.graphs / name).write_text("import os; os.abort()")
        assert (frozen.graphs / name).read_bytes() == before
    (config.graphs / "models" / "evil").mkdir()
    assert [path.name for path in (frozen.graphs / "models").iterdir()] == ["vico"]


def test_graphs_that_are_replaced_or_removed_stay_what_they_were(config: ServingConfig, tmp_path: Path) -> None:
    frozen = freeze(config, tmp_path / "run")
    spec = GRAPHSET.targets["onnx"]["denoiser"]
    write_graph(tmp_path / "other" / Path(spec.file).name, 5.0)
    for file in (tmp_path / "other").iterdir():
        file.replace((config.graphs / spec.file).with_name(file.name))
    assert opened(config) == 5.0
    assert opened(frozen) == WEIGHT
    shutil.rmtree(config.graphs)
    assert opened(frozen) == WEIGHT


@pytest.mark.parametrize("disk", [linked, on_another_disk])
@pytest.mark.parametrize("suffix", ["", ".data"])
def test_a_graph_that_is_written_to_in_place_is_refused(
    config: ServingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: Callable[[pytest.MonkeyPatch], None],
    suffix: str,
) -> None:
    disk(monkeypatch)
    frozen = freeze(config, tmp_path / "run")
    file = config.graphs / f"{GRAPHSET.targets['onnx']['denoiser'].file}{suffix}"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(GraphError, match="graphs: a graph was written to since the server began"):
        opened(frozen)


def test_across_disks_a_replaced_graph_is_refused(
    config: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_disk(monkeypatch)
    frozen = freeze(config, tmp_path / "run")
    file = config.graphs / GRAPHSET.targets["onnx"]["denoiser"].file
    shutil.copy2(file, tmp_path / "copy")
    (tmp_path / "copy").replace(file)
    with pytest.raises(GraphError, match="written to"):
        opened(frozen)


def test_the_marks_name_every_file(config: ServingConfig, tmp_path: Path) -> None:
    marks = json.loads((freeze(config, tmp_path / "run").graphs / "frozen.json").read_text())
    assert len(marks) == 2 * len(GRAPHSET.graphs)
