from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runners import GRAPHSET

from serving.cli import Device
from serving.config import ServingConfig
from serving.errors import GraphError
from serving.runner import PROVIDERS, OrtRunner, open_runner

onnx = pytest.importorskip("onnx", reason="graphs are made here with onnx: pip install 'vico[export]'")


def graph(path: Path, element: int) -> Path:
    """y = x + x, and n as it is."""
    from onnx import TensorProto, helper

    def value(name: str, kind: int) -> Any:
        return helper.make_tensor_value_info(name, kind, ["batch"])

    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["n"], ["m"])]
    inputs = [value("x", element), value("n", TensorProto.INT64)]
    outputs = [value("y", element), value("m", TensorProto.INT64)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("element", "dtype"), [(1, np.float32), (10, np.float16)])
def test_outputs_by_name_in_float32(tmp_path: Path, element: int, dtype: type[Any]) -> None:
    runner = OrtRunner(graph(tmp_path / "g.onnx", element), threads=1)
    assert runner.dtype is dtype
    results = runner.run({"x": np.array([1.5, 2], np.float32), "n": np.array([3, 4])})
    assert [results[name].dtype.name for name in ("y", "m")] == ["float32", "int64"]
    np.testing.assert_array_equal(results["y"], [3, 4])
    np.testing.assert_array_equal(results["m"], [3, 4])


def test_threads_do_not_spin(tmp_path: Path) -> None:
    session = OrtRunner(graph(tmp_path / "g.onnx", 1))._session
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_device_that_is_not_there_is_refused_not_replaced(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", 1)
    with pytest.raises(GraphError, match="unknown provider"):
        OrtRunner(path, "tpu")
    import onnxruntime

    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        with pytest.raises(GraphError, match="'cuda' is not available"):
            OrtRunner(path, "cuda")


def test_every_device_of_the_command_has_a_provider() -> None:
    assert {device.value for device in Device} == PROVIDERS.keys()


def test_an_absent_graph_is_named(tmp_path: Path) -> None:
    config = ServingConfig(tmp_path, tmp_path)
    for name in ("denoiser", "vae_decoder"):
        with pytest.raises(GraphError, match=f"'{name}' is absent"):
            open_runner(config, GRAPHSET, name)
