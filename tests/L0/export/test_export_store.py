"""Graph folders appear whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from export.store import GraphStore

DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    return GraphStore(tmp_path / "graphs")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_graph_appears_under_its_digest(store: GraphStore) -> None:
    with store.lock(), store.staging("denoiser", DIGEST) as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        (folder / "model.onnx.data").write_bytes(b"weights")
        assert not store.contains("denoiser", DIGEST)
    assert store.contains("denoiser", DIGEST)
    assert _names(store.folder("denoiser", DIGEST)) == ["model.onnx", "model.onnx.data"]
    assert store.folder("denoiser", DIGEST) == store.root / "denoiser" / DIGEST
    assert store.folder("denoiser", DIGEST).stat().st_mode & 0o777 == 0o755
    assert not store.contains("denoiser", "cd" * 32)
    assert not store.contains("vae_decoder", DIGEST)


def _export_onto_a_full_disk(store: GraphStore) -> None:
    with store.staging("denoiser", DIGEST) as folder:
        (folder / "model.onnx").write_bytes(b"half a gr")
        raise OSError(28, "No space left on device")


def test_a_failed_graph_leaves_nothing(store: GraphStore) -> None:
    with store.lock():
        with pytest.raises(OSError, match="No space left"):
            _export_onto_a_full_disk(store)
        assert _names(store.root) == [".lock"]
    assert not store.contains("denoiser", DIGEST)


_KILLED = """
import os, signal, sys
from pathlib import Path
from export.store import GraphStore
store = GraphStore(Path(sys.argv[1]))
with store.lock(), store.staging("denoiser", "ab" * 32) as folder:
    (folder / "model.onnx").write_bytes(b"half a gr")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_export_is_never_seen_and_is_cleared_away(store: GraphStore) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(store.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not store.contains("denoiser", DIGEST)
    assert len(_names(store.root)) == 2, "the half-written graph is still there, under another name"
    with store.lock():
        assert _names(store.root) == [".lock"]


def test_two_exports_take_turns(store: GraphStore) -> None:
    order: list[str] = []

    def second() -> None:
        with store.lock():
            order.append("second")

    with store.lock():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
