"""The command `vico` as a process: help, completion, exit codes, interruptions, and no traceback whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.markup import render
from typer.testing import CliRunner

from vico.cli import COMMANDS, OTHERS, PANELS, build_app, main
from vico.errors import VicoError

_PROGRAM = "import sys; from vico.cli import main; sys.argv[0] = 'vico'; main()"


def _vico(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | plain, timeout=300, check=False)


def test_every_command_is_shown_in_the_order_of_a_newcomer() -> None:
    shown = _vico(["--help"]).stdout
    installed = {entry.name for entry in entry_points(group=COMMANDS)}
    assert installed >= {"train", "evaluate", "inspect", "verify", "import", "export", "serve", "concepts"}
    assert installed >= {"generate", "gateway", "loadtest"}
    places = [shown.index(panel) for panel in PANELS]
    assert places == sorted(places)
    assert all(f"│ {name} " in shown for name in installed)
    assert OTHERS not in shown
    assert "--install-completion" in shown


def test_only_the_command_that_runs_is_loaded() -> None:
    code = "import sys; from vico.cli import build_app; build_app('verify'); sys.exit('serving' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert {command.name for command in build_app("verify").registered_commands} == {"verify"}
    assert len(build_app("no-such-command").registered_commands) > 5


WITHOUT_RESULT = {"gateway", "studio"}
"""Servers whose one line is their address."""


def test_every_command_with_a_result_tells_it_as_json() -> None:
    def options(command: Any) -> set[str]:
        return {name for parameter in command.params for name in parameter.opts}

    for name, command in typer.main.get_command(build_app()).commands.items():  # type: ignore[attr-defined]
        if name not in WITHOUT_RESULT and "--json" not in options(command):
            parts = getattr(command, "commands", {})
            assert parts, name
            assert all("--json" in options(part) for part in parts.values()), name


def test_no_help_text_is_taken_for_markup() -> None:
    """Rich leaves out what it takes for a tag: `[default: …]` is one."""

    def texts(command: Any) -> list[str]:
        own = [text for item in (command, *command.params) if (text := getattr(item, "help", None))]
        return own + [text for part in getattr(command, "commands", {}).values() for text in texts(part)]

    shown = texts(typer.main.get_command(build_app()))
    assert len(shown) > 100
    assert [text for text in shown if render(text).plain != text] == []


def test_names_of_a_registry_are_completed(tmp_path: Path) -> None:
    for name in ("bear.safetensors", "boat.safetensors", "bee.txt"):
        (tmp_path / name).touch()
    line = f"vico concepts --registry {tmp_path} describe b"
    done = _vico([], _VICO_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD="5")
    assert done.stdout.split() == ["bear", "boat"]


def test_a_command_whose_library_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("vico_client.gateway")]:
        monkeypatch.delitem(sys.modules, name)
    done = CliRunner().invoke(build_app("gateway"), ["gateway"])
    assert isinstance(done.exception, VicoError)
    assert "'fastapi'" in str(done.exception)
    assert done.exception.accepted == "pip install 'vico-client[gateway]'"


def test_version() -> None:
    done = _vico(["--version"])
    assert (done.returncode, done.stdout.split()[0]) == (0, "vico")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("typed", "expected"),
    [("ex", {"export"}), ("generate x --sampler d", {"ddim", "dpmpp_2m"}), ("generate x --preset q", {"quality"})],
)
def test_shells_complete(shell: str, typed: str, expected: set[str]) -> None:
    line = f"vico {typed}"
    asked = {"_VICO_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        asked |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    else:
        asked |= {"_TYPER_COMPLETE_ARGS": line}
    done = _vico([], **asked)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for word in expected:
        assert word in done.stdout
    assert "unipc" not in done.stdout


def test_the_completion_script_is_for_this_command() -> None:
    done = _vico([], _VICO_COMPLETE="source_bash")
    assert "_VICO_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["no-such"], ["verify"], ["generate", "a", "--steps", "many"], ["export", "--target", "x"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = _vico(arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_refusal_is_1_and_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"x")
    done = _vico([command, str(tmp_path / "torn.safetensors")])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_with_json_a_refusal_is_json(tmp_path: Path) -> None:
    done = _vico(["inspect", str(tmp_path / "none.safetensors"), "--json"])
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["field"]) == ("ConceptError", "file")
    assert done.stderr == ""


def test_a_refusal_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets in a message are no markup."""

    def command(context: typer.Context) -> None:
        raise VicoError("field", "[red]odd[/]", "x")

    app = typer.Typer()
    app.command()(command)
    monkeypatch.setattr("vico.cli.build_app", lambda _only: app)
    monkeypatch.setattr(sys, "argv", ["vico"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "error field: [red]odd[/]; accepted: x" in capsys.readouterr().err


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), BrokenPipeError(32, "Broken pipe")])
def test_ctrl_c_and_broken_pipes_are_no_tracebacks(raised: BaseException) -> None:
    def command() -> None:
        raise raised

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    done = CliRunner().invoke(app)
    assert done.exit_code == (130 if isinstance(raised, KeyboardInterrupt) else 1)
    assert "Traceback" not in done.output


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f'{sys.executable} -c "{_PROGRAM}" --help | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def _hear_ctrl_c() -> None:
    """What a shell starts with `&` ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_while_a_server_is_waited_for(tmp_path: Path) -> None:
    """A server that never answers: a port that takes connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "generate", "a", "--address", address, "--out", str(tmp_path / "p.png")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )  # fmt: skip
        watchdog = threading.Timer(300, process.kill)
        watchdog.start()
        silent.settimeout(250)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        output: Any = process.communicate()
        watchdog.cancel()
        connection.close()
    assert process.returncode == 130, output
    assert "Traceback" not in output[1]
    assert not list(tmp_path.iterdir())
