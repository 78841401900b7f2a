"""The arrows between the rooms (docs/architecture.md): who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"vico", "training", "export", "serving", "model_repository", "studio", "vico_client", "benchmarks", "tests"}
MAY_IMPORT: dict[str, set[str]] = {
    "vico": set(),
    "training": {"vico"},
    "export": {"vico"},
    "serving": {"vico.concept", "vico.sampling", "vico.errors"},
    "model_repository": {"serving"},
    # and the trainer as a child process
    "studio": {"vico", "vico_client"},
    "clients/python/src/vico_client": set(),
}


def _imports(path: Path) -> set[str]:
    """Absolute module names that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def _allowed(module: str, room: str) -> bool:
    own = Path(room).name
    return any(module == name or module.startswith(f"{name}.") for name in MAY_IMPORT[room] | {own})


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"no code in {room}"
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in sorted(_imports(path))
        if module.split(".")[0] in ROOMS and not _allowed(module, room)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["vico.concept", "vico.sampling", "vico.errors", "vico.cli"])
def test_torch_free(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
