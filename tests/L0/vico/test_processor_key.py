"""The key under which packed weights are found again."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from vico.concept import processor


def _key(monkeypatch: pytest.MonkeyPatch, file: Path) -> str:
    monkeypatch.setattr(processor, "_CPUINFO", file)
    return processor.processor_key.__wrapped__()


def test_it_names_the_runtime_and_what_the_processor_can_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags\t\t: sse fma avx2 avx nonsense\n\nprocessor : 1\nflags\t\t: avx512f\n")
    key = _key(monkeypatch, info)
    assert key.startswith(f"onnxruntime-{onnxruntime.__version__}-")
    assert key.endswith("-avx-avx2-fma")


def test_another_processor_has_another_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = set()
    for number, flags in enumerate(("flags : avx2", "flags : avx2 avx512f", "Features : asimd", "model name : none")):
        info = tmp_path / str(number)
        info.write_text(flags + "\n")
        keys.add(_key(monkeypatch, info))
    assert len(keys) == 4


def test_a_system_that_does_not_tell_has_a_key_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert onnxruntime.__version__ in _key(monkeypatch, tmp_path / "absent")
