"""`vico_client` stands alone: what it imports, what it asks for, and that its README is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_vico_server import FakeServer

DISTRIBUTION = Path(__file__).parents[3] / "clients" / "python"
SOURCES = sorted((DISTRIBUTION / "src" / "vico_client").glob("*.py"))
ALLOWED = {"numpy", "PIL", "tritonclient", "vico_client"} | {"grpc", "google"}  # these two are tritonclient[grpc]'s
ALLOWED_IN_CLI = ALLOWED | {"typer", "rich"}
LOADTEST_SOURCES = sorted((DISTRIBUTION / "src" / "vico_client" / "loadtest").glob("*.py"))
COMMANDS_SOURCES = sorted((DISTRIBUTION / "src" / "vico_client" / "commands").glob("*.py"))
GATEWAY_SOURCES = sorted((DISTRIBUTION / "src" / "vico_client" / "gateway").glob("*.py"))
ALLOWED_IN_GATEWAY = ALLOWED_IN_CLI | {"fastapi", "pydantic", "starlette", "uvicorn"}
ALLOWED_IN_LOADTEST = ALLOWED_IN_CLI | {"hdrh", "jinja2", "matplotlib", "prometheus_client", "pydantic", "tomli"}
FORBIDDEN = {"vico", "serving", "training", "export", "torch", "typer", "rich", "pydantic", "hdrh", "matplotlib"} | {
    "fastapi",
    "starlette",
}


def _imported(source: Path) -> set[str]:
    """Top-level packages imported at run time, standard library left out."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    type_checking = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(node) for block in type_checking for node in ast.walk(block)}
    nodes = [node for node in ast.walk(tree) if id(node) not in skipped]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_each_file_imports_only_what_the_distribution_asks_for(source: Path) -> None:
    more = {"tracing.py": {"opentelemetry"}, **dict.fromkeys(("cli.py", "progress.py", "__main__.py"), ALLOWED_IN_CLI)}
    assert _imported(source) <= ALLOWED | more.get(source.name, set())


@pytest.mark.parametrize("source", LOADTEST_SOURCES, ids=lambda path: path.name)
def test_the_load_generator_imports_only_what_its_extra_asks_for(source: Path) -> None:
    assert _imported(source) <= ALLOWED_IN_LOADTEST


@pytest.mark.parametrize("source", COMMANDS_SOURCES, ids=lambda path: path.name)
def test_the_commands_import_only_what_their_extra_asks_for(source: Path) -> None:
    assert _imported(source) <= ALLOWED_IN_CLI | ({"textual_image"} if source.name == "terminal.py" else set())


@pytest.mark.parametrize("source", GATEWAY_SOURCES, ids=lambda path: path.name)
def test_the_gateway_imports_only_what_its_extra_asks_for(source: Path) -> None:
    assert _imported(source) <= ALLOWED_IN_GATEWAY


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    program = "import sys, vico_client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not FORBIDDEN & set(done.stdout.split())


def test_the_package_says_that_it_is_typed() -> None:
    assert (DISTRIBUTION / "src" / "vico_client" / "py.typed").exists()


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DISTRIBUTION / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", _examples(), ids=range(len(_examples())))
def test_the_examples_of_the_readme_run(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("localhost:8001", server.address), "README.md", "exec"), {"__name__": "__main__"})
    assert server.calls
