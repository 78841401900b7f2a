"""Engines: what they are built for, and when they are found again; the library is a fake but for the slow test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.built import bring_up_engine
from export.engines import build_engine
from export.errors import TargetError
from export.profiles import EngineLimits, profiles_for
from export.records import GraphRecord, GraphResult
from export.signatures import GRAPH_NAMES, Axis, Geometry, signatures
from export.store import GraphStore
from export.tensorrt_rtx import TensorRTRtx
from vico.concept import SiteSpec
from vico.concept.engine import Builder, read_engine_record
from vico.concept.graphset import GraphName

GEOMETRY = Geometry(
    sites=(SiteSpec("up_blocks.1.attentions.0", 64, 4), SiteSpec("up_blocks.3.attentions.2", 32, 4)),
    prompt_tokens=77,
    context_width=32,
    vocabulary=100,
    vae_factor=8,
    unet_multiple=8,
    latent_channels=4,
    num_timesteps=1000,
)
LIMITS = EngineLimits(sizes=(512, 1024))


class _Trt:
    """The few calls of the library's module that a build makes."""

    __version__ = "1.7.1"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None: ...

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.profiles: list[Any] = []

        def create_network(self, flags: int) -> Any:
            assert flags == 1, "strongly typed"
            names = [SimpleNamespace(name=name) for name in ("latent", "timestep")]
            return SimpleNamespace(num_inputs=2, get_input=names.__getitem__)

        def create_builder_config(self) -> Any:
            return SimpleNamespace(add_optimization_profile=self.profiles.append)

        def create_optimization_profile(self) -> Any:
            shapes: dict[str, Any] = {}
            return SimpleNamespace(shapes=shapes, set_shape=lambda name, *given: shapes.update({name: given}))

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            for profile in self.profiles:
                assert profile.shapes.keys() <= {"latent", "timestep"}, "an input that the network does not have"
            return b"engine"

    class OnnxParser:
        num_errors = 1
        parses = True

        def __init__(self, network: Any, logger: Any) -> None: ...

        def parse_from_file(self, path: str) -> bool:
            return self.parses

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "no such operator")


class _Library:
    builder: Builder = "tensorrt-rtx"
    devices: tuple[str, ...] = ("8.6",)
    version_compatible = False

    def __init__(self, **changes: Any) -> None:
        self.trt: Any = _Trt
        self.built = 0
        self.__dict__.update(changes)

    def configure(self, config: Any) -> None:
        self.built += 1

    def finish(self, config: Any) -> None: ...


def _half(tmp_path: Path, name: GraphName = "denoiser", digest: str = "a" * 64) -> GraphResult:
    return GraphResult(GraphRecord(name, digest, 1, 1, 1, 0.0, "onnx-fp16"), tmp_path / "model.onnx", is_new=False)


def _bring_up(tmp_path: Path, library: _Library, **changes: Any) -> GraphResult:
    store = GraphStore(tmp_path / "graphs")
    store.root.mkdir(exist_ok=True)
    limits = changes.pop("limits", LIMITS)
    signature = signatures(GEOMETRY)["denoiser"]
    return bring_up_engine(store, library, _half(tmp_path, **changes), signature, GEOMETRY, limits)


def test_an_engine_is_built_once_and_found_again(tmp_path: Path) -> None:
    library = _Library()
    first, second = _bring_up(tmp_path, library), _bring_up(tmp_path, library)
    assert (first.is_new, second.is_new, library.built) == (True, False, 1)
    assert first.model == second.model
    assert first.model.read_bytes() == b"engine"
    record = read_engine_record(first.model)
    assert record.digest == first.record.digest == first.model.parent.name
    assert (record.version, record.devices, record.graph_digest) == ("1.7.1", ("8.6",), "a" * 64)
    assert len(record.profiles) == 2


def test_another_graph_version_device_or_profile_is_another_engine(tmp_path: Path) -> None:
    newer = SimpleNamespace(**{**vars(_Trt), "__version__": "1.8.0"})
    results = [
        _bring_up(tmp_path, _Library()),
        _bring_up(tmp_path, _Library(), digest="b" * 64),
        _bring_up(tmp_path, _Library(trt=newer)),
        _bring_up(tmp_path, _Library(devices=("8.9",))),
        _bring_up(tmp_path, _Library(), limits=EngineLimits(sizes=(512,))),
    ]
    assert all(result.is_new for result in results)
    assert len({result.record.digest for result in results}) == 5


def test_a_graph_that_the_library_refuses_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Trt.OnnxParser, "parses", False)
    with pytest.raises(TargetError, match="denoiser: tensorrt-rtx does not parse it \\(no such operator\\)"):
        _bring_up(tmp_path, _Library())
    monkeypatch.setattr(_Trt.OnnxParser, "parses", True)
    monkeypatch.setattr(_Trt.Builder, "build_serialized_network", lambda *_: None)
    with pytest.raises(TargetError, match="denoiser: tensorrt-rtx cannot build it"):
        _bring_up(tmp_path, _Library())
    assert not [path for path in (tmp_path / "graphs").rglob("*") if path.is_file()]


@given(
    sizes=st.lists(st.sampled_from([256, 512, 768, 1024]), min_size=1, max_size=4, unique=True),
    max_batch=st.integers(1, 16),
    slots=st.integers(1, 8),
    references=st.integers(1, 7),
)
def test_profiles_are_ordered_and_hold_what_they_promise(
    sizes: list[int], max_batch: int, slots: int, references: int
) -> None:
    limits = EngineLimits(tuple(sizes), max_batch, slots, references=references)
    for name, signature in signatures(GEOMETRY).items():
        profiles = profiles_for(signature, GEOMETRY, limits)
        assert len(profiles) == (1 if name == "text_encoder" else len(sizes))
        for profile, size in zip(profiles, sorted(sizes)[-len(profiles) :], strict=True):
            for value in signature.inputs:
                least, best, greatest = profile[value.name]
                for axis, low, mid, high in zip(value.shape, least, best, greatest, strict=True):
                    assert 1 <= low <= mid <= high
                    if not isinstance(axis, Axis):
                        assert low == high == axis
                    elif axis.name == "height":
                        assert high == (size if value.name == "image" else size // 8)
                        assert low % axis.multiple == high % axis.multiple == 0
                    elif axis == Axis("reference_tokens_0"):
                        assert high == references * (size // 8 // 4) ** 2
                    elif axis == Axis("reference_tokens_1"):
                        assert high == references * (size // 8) ** 2


@pytest.mark.parametrize("devices", [(), ("9.0",), ("8.6", "10.0")])
def test_a_device_that_the_library_does_not_build_for_is_named(devices: tuple[str, ...]) -> None:
    with pytest.raises(TargetError, match=r"devices: .*accepted: 7.5, 8.0, 8.6"):
        TensorRTRtx(devices)


@pytest.mark.slow
def test_tensorrt_rtx_builds_all_five_toy_graphs_without_a_device(tmp_path: Path) -> None:
    """Two minutes on an idle machine; prints sizes and times (`pytest -s -m slow`)."""
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu12")
    from export.engines import engine_record
    from export.modules import geometry_of
    from tests.helpers.tiny_graphs import export_unchecked
    from vico.base import load_base

    base = load_base(Path(__file__).parents[3] / "assets/toy-base")
    exported = export_unchecked(base, tmp_path, "onnx-fp16")
    library, limits = TensorRTRtx(("8.6",)), EngineLimits(sizes=(base.default_size,))
    for name in GRAPH_NAMES:
        profiles = profiles_for(exported.signature(name), geometry_of(base), limits)
        built = build_engine(
            library, exported.form(name, "onnx-fp16"), engine_record(library, name, "0" * 64, profiles)
        )
        print(f"{name:18} {len(built.content) / 2**20:7.1f} MiB, {built.build_seconds:6.1f} s")
        assert len(built.content) > 100_000
