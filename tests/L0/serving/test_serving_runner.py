"""Runners: what every one promises, and what a device that is not here would be asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from fake_runners import GRAPHSET, Concepts

from serving.bank import SlotBank
from serving.cli import Device
from serving.config import ServingConfig
from serving.errors import GraphError
from serving.runner import TARGETS, open_runner
from serving.runners import onnx_cuda
from serving.runners.onnx_cpu import OnnxCpuRunner
from serving.runners.onnx_cuda import OnnxCudaRunner
from serving.runners.runner import Feeds, KeepsInputs, Runner
from serving.runners.tensorrt import TensorRTRunner
from vico.concept import GraphSpec
from vico.concept.engine import EngineRecord, write_engine_record
from vico.concept.graphset import GraphName

RECORD = EngineRecord(
    graph_name="denoiser",
    graph_digest="a" * 64,
    builder="tensorrt",
    version="10.3.0",
    devices=("8.6",),
    profiles=({"x": ((1, 4), (2, 4), (8, 4))}, {"x": ((1, 8), (2, 8), (2, 8))}),
)


def graph(path: Path, element: int) -> Path:
    """y = x + x, and n as it is."""
    onnx = pytest.importorskip("onnx", reason="graphs are made here with onnx: pip install 'vico[export]'")
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
    runner = OnnxCpuRunner(graph(tmp_path / "g.onnx", element), threads=1)
    assert runner.dtype is dtype
    results = runner.run({"x": np.array([1.5, 2], np.float32), "n": np.array([3, 4])})
    assert [results[name].dtype.name for name in ("y", "m")] == ["float32", "int64"]
    np.testing.assert_array_equal(results["y"], [3, 4])
    np.testing.assert_array_equal(results["m"], [3, 4])


def test_threads_do_not_spin(tmp_path: Path) -> None:
    session = OnnxCpuRunner(graph(tmp_path / "g.onnx", 1))._session
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("beside", "arena"), [({}, True), ({"g.onnx.data": 5}, True), ({"weights.bin": 200}, False)])
def test_only_a_small_graph_keeps_its_memory(tmp_path: Path, beside: dict[str, int], arena: bool) -> None:
    for name, mebibytes in beside.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(mebibytes * 2**20)
    options = OnnxCpuRunner(graph(tmp_path / "g.onnx", 1))._session.get_session_options()
    assert options.enable_cpu_mem_arena is arena
    assert not options.enable_mem_pattern


def test_a_torn_graph_is_refused_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "torn.onnx").write_bytes(b"half a graph")
    with pytest.raises(GraphError, match="refuses a graph") as caught:
        OnnxCpuRunner(tmp_path / "torn.onnx")
    assert str(tmp_path) not in str(caught.value)


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="unknown provider 'tpu'"):
        open_runner(ServingConfig(tmp_path, tmp_path, provider="tpu"), GRAPHSET, "denoiser")


def test_every_device_of_the_command_has_targets() -> None:
    assert {device.value for device in Device} == TARGETS.keys()


@pytest.mark.parametrize(("provider", "target"), [("cpu", "onnx"), ("cuda", "onnx-fp16"), ("tensorrt", "tensorrt")])
def test_an_absent_graph_is_named_with_the_command_that_makes_it(tmp_path: Path, provider: str, target: str) -> None:
    config = ServingConfig(tmp_path, tmp_path, provider=provider)
    for name in ("denoiser", "vae_decoder"):
        with pytest.raises(GraphError, match=f"'{name}' is absent.*--target {target}"):
            open_runner(config, GRAPHSET, name)


def test_the_graph_of_another_target_is_not_taken_in_its_place(tmp_path: Path) -> None:
    graph(tmp_path / "half.onnx", 10)
    half: dict[GraphName, GraphSpec] = {"denoiser": GraphSpec(file="half.onnx", digest="0" * 64)}
    graphset = replace(GRAPHSET, targets={"onnx-fp16": half})
    with pytest.raises(GraphError, match="'denoiser' is absent"):
        open_runner(ServingConfig(tmp_path, tmp_path), graphset, "denoiser")
    opened = open_runner(ServingConfig(tmp_path, tmp_path), replace(GRAPHSET, targets={"onnx": half}), "denoiser")
    assert isinstance(opened, OnnxCpuRunner)


# --- ONNX Runtime CUDA, up to the device call ---------------------------------------------------------------------


class _Value:
    """An `OrtValue` on the fake device."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array.copy()

    def update_inplace(self, array: npt.NDArray[Any]) -> None:
        assert array.shape == self.array.shape, "an address holds one shape"
        self.array[...] = array

    def numpy(self) -> npt.NDArray[Any]:
        return self.array


class _Session:
    """y = x + Σ bank on the fake device; remembers the graph ids of its runs."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        self.graph_ids: list[str] = []
        self.input_addresses: list[int] = []

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_outputs(self) -> list[Any]:
        return [type("Info", (), {"name": "y"})]

    def get_inputs(self) -> list[Any]:
        return [type("Info", (), {"name": "x", "type": "tensor(float16)"})]

    def io_binding(self) -> Any:
        return _Binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.graph_ids.append(options.get_run_config_entry("gpu_graph_id"))
        self.input_addresses.append(id(binding.inputs["x"]))
        result = binding.inputs["x"].array + sum(v.array.sum() for k, v in binding.inputs.items() if k != "x")
        if binding.outputs["y"] is None:
            binding.outputs["y"] = _Value(result)
        else:
            binding.outputs["y"].update_inplace(result)


class _Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, _Value] = {}
        self.outputs: dict[str, _Value | None] = {}

    def bind_ortvalue_input(self, name: str, value: _Value) -> None:
        self.inputs[name] = value

    def bind_output(self, name: str, device: str) -> None:
        assert device == "cuda"
        self.outputs[name] = None

    def bind_ortvalue_output(self, name: str, value: _Value) -> None:
        self.outputs[name] = value

    def get_outputs(self) -> list[_Value | None]:
        return list(self.outputs.values())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Session)
    monkeypatch.setattr(onnx_cuda, "_on_device", _Value)


def test_without_cuda_it_is_refused_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph(tmp_path / "g.onnx", 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(GraphError, match="'cuda' is not available here"):
        OnnxCudaRunner(path)


@pytest.mark.usefixtures("cuda")
def test_a_silent_fall_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(GraphError, match="'cuda' does not start"):
        OnnxCudaRunner(Path("g.onnx"))


@pytest.mark.usefixtures("cuda")
def test_a_shape_that_comes_back_is_captured_at_its_addresses() -> None:
    runner = OnnxCudaRunner(Path("g.onnx"))
    for k in range(3):
        result = runner.run({"x": np.full(2, k, np.float32)})["y"]
        np.testing.assert_array_equal(result, [k, k])
        assert result.dtype == np.float32
    np.testing.assert_array_equal(runner.run({"x": np.ones(3, np.float32)})["y"], [1, 1, 1])
    session: Any = runner._session
    assert session.graph_ids == ["-1", "1", "1", "-1"]
    assert len(set(session.input_addresses[:3])) == 1


class _Once:
    """Notes when a second thread comes in beside the first."""

    def __init__(self) -> None:
        self.inside, self.shared = 0, False

    def __call__(self) -> None:
        self.inside += 1
        self.shared |= self.inside > 1
        time.sleep(0.002)
        self.inside -= 1


def run_in_threads(runner: Runner) -> None:
    """The loop and the worker beside it, which both run the reference encoder."""

    def work(number: int) -> None:
        for _ in range(20):
            result = runner.run({"x": np.full((1, 4), number, np.float32)})["y"]
            np.testing.assert_array_equal(result, np.full((1, 4), number))

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(work, number) for number in range(3)]:
            done.result()


@pytest.mark.usefixtures("cuda")
def test_cuda_runs_of_several_threads_keep_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    once, run = _Once(), _Session.run_with_iobinding

    def patient(session: _Session, binding: Any, options: Any) -> None:
        once()
        run(session, binding, options)

    monkeypatch.setattr(_Session, "run_with_iobinding", patient)
    run_in_threads(OnnxCudaRunner(Path("g.onnx")))
    assert not once.shared


def test_tensorrt_runs_of_several_threads_keep_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once, run = _Once(), _Engine.run

    def patient(own: _Engine, profile: int, feeds: Feeds, kept: Mapping[str, Any]) -> Feeds:
        once()
        return run(own, profile, feeds, kept)

    monkeypatch.setattr(_Engine, "run", patient)
    run_in_threads(TensorRTRunner(engine(tmp_path), "denoiser", _Gpu()))
    assert not once.shared


@pytest.mark.usefixtures("cuda")
def test_the_bank_stays_on_the_device_until_it_is_written() -> None:
    bank, version = {"bank": np.ones(4, np.float32)}, [0]
    runner = OnnxCudaRunner(Path("g.onnx"))
    assert isinstance(runner, KeepsInputs)
    runner.keep(bank, lambda: version[0])
    feeds = {"x": np.zeros(1, np.float32), **bank}
    assert runner.run(feeds)["y"] == [4]
    bank["bank"][:] = 2
    assert runner.run(feeds)["y"] == [4], "nobody told of the write"
    version[0] += 1
    assert runner.run(feeds)["y"] == [8]


def test_the_bank_tells_of_every_write(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 2)
    bank, versions = SlotBank(GRAPHSET.sites, 1), [0]
    for digest in (concepts.digests[0], concepts.digests[0], concepts.digests[1], concepts.digests[0]):
        bank.acquire(digest, concepts.load)
        bank.release(digest)
        versions.append(bank.version)
    assert versions == [0, 1, 1, 2, 3]


# --- TensorRT, up to the device call ------------------------------------------------------------------------------


class _Engine:
    def __init__(self) -> None:
        self.profiles: list[int] = []

    def run(self, profile: int, feeds: Feeds, kept: Mapping[str, Any]) -> Feeds:
        self.profiles.append(profile)
        assert all(array.dtype == np.float16 for array in feeds.values())
        assert not feeds.keys() & kept.keys()
        return {"y": feeds["x"] + sum(array.sum() for array in kept.values())}

    def hold(self, array: npt.NDArray[Any], into: Any = None) -> Any:
        if into is None:
            return array.copy()
        into[...] = array
        return into


class _Gpu:
    version, capability = "10.3.0", "8.6"

    def __init__(self) -> None:
        self.engine = _Engine()

    def load(self, content: bytes) -> _Engine:
        assert content == b"engine"
        return self.engine


def engine(folder: Path, record: EngineRecord = RECORD) -> Path:
    path = folder / "model.engine"
    path.write_bytes(b"engine")
    write_engine_record(path, record)
    return path


def test_the_profile_that_holds_the_shapes(tmp_path: Path) -> None:
    gpu = _Gpu()
    runner = TensorRTRunner(engine(tmp_path), "denoiser", gpu)
    for shape in ((1, 4), (2, 8), (8, 4)):
        assert runner.run({"x": np.ones(shape, np.float32)})["y"].dtype == np.float32
    assert gpu.engine.profiles == [0, 1, 0]
    with pytest.raises(GraphError, match=r"no profile of the engine 'denoiser' holds .*\(9, 4\)"):
        runner.run({"x": np.ones((9, 4), np.float32)})


def test_tensorrt_keeps_the_bank(tmp_path: Path) -> None:
    version = [0]
    bank = {"bank": np.ones(4, np.float32)}
    runner = TensorRTRunner(engine(tmp_path), "denoiser", _Gpu())
    runner.keep(bank, lambda: version[0])
    feeds = {"x": np.zeros((1, 4), np.float32), **bank}
    assert runner.run(feeds)["y"].max() == 4
    bank["bank"][:], version[0] = 2, 1
    assert runner.run(feeds)["y"].max() == 8


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": "10.2.0"}, "built by tensorrt 10.2.0, here is 10.3.0"),
        ({"devices": ("8.9", "12.0")}, "compute capability 8.9, 12.0, this device has 8.6"),
        ({"version": "9.9.0", "version_compatible": True}, "built by tensorrt 9.9.0"),
        ({"graph_name": "vae_decoder"}, "is of 'vae_decoder', not of 'denoiser'"),
    ],
)
def test_a_stale_engine_is_refused_by_name(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=problem) as caught:
        TensorRTRunner(engine(tmp_path, replace(RECORD, **change)), "denoiser", _Gpu())
    assert "denoiser" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_compatible_engine_of_an_older_version_runs(tmp_path: Path) -> None:
    TensorRTRunner(engine(tmp_path, replace(RECORD, version="10.1.0", version_compatible=True)), "denoiser", _Gpu())


def test_an_engine_without_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    with pytest.raises(GraphError, match="'denoiser' has no record"):
        TensorRTRunner(tmp_path / "model.engine", "denoiser", _Gpu())


def test_an_engine_is_its_content_and_its_builder_not_its_path() -> None:
    changes: list[dict[str, Any]] = [
        {"graph_digest": "b" * 64},
        {"version": "10.4.0"},
        {"devices": ("8.9",)},
        {"profiles": RECORD.profiles[:1]},
        {"builder": "tensorrt-rtx"},
    ]
    assert len({RECORD.digest, *(replace(RECORD, **change).digest for change in changes)}) == 6
    assert replace(RECORD).digest == RECORD.digest


def test_without_tensorrt_it_says_so(tmp_path: Path) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(GraphError, match="'tensorrt' needs"):
            TensorRTRunner(engine(tmp_path), "denoiser")
