"""Pictures and progress of `vico generate` in a terminal: a pseudo-terminal that answers as a real one would."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from fake_vico_server import FakeServer
from vico_client.commands.complete import concepts, words

pytest.importorskip("textual_image", reason="needs the extra: pip install 'vico-client[cli]'")

_PROGRAM = "import typer; from vico_client.cli import generate; typer.run(generate)"
_SIXEL, _BLOCKS = "\x1bP", "▀"


def _in_terminal(
    sixel: bool, server: FakeServer, out: Path, *options: str, size: tuple[int, ...] = (30, 80, 640, 480)
) -> str:
    """What the command writes to a terminal that can show sixel pictures, or cannot."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size))
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, "a toy", "--address", server.address, "--out", str(out), *options],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, close_fds=True,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 240
    answered = 0
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1.0)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the terminal's other side is closed
            break
        if seen.count(b"\x1b[c") > answered:
            answered += 1
            os.write(ours, b"\x1b[?62;4c" if sixel else b"\x1b[?62c")
    os.close(ours)
    assert process.wait(60) == 0, seen
    return seen.decode(errors="replace")


def test_a_terminal_with_graphics_shows_the_picture(server: FakeServer, tmp_path: Path) -> None:
    seen = _in_terminal(True, server, tmp_path / "p.png")
    assert _SIXEL in seen
    assert str(tmp_path / "p.png") in seen.replace("\r\n", "")


def test_another_shows_it_on_demand_only(server: FakeServer, tmp_path: Path) -> None:
    plain = _in_terminal(False, server, tmp_path / "p.png")
    assert not any(mark in plain for mark in (_SIXEL, _BLOCKS))
    assert _BLOCKS in _in_terminal(False, server, tmp_path / "p.png", "--show")


def test_a_terminal_that_does_not_know_its_size_shows_nothing(server: FakeServer, tmp_path: Path) -> None:
    assert _SIXEL not in _in_terminal(True, server, tmp_path / "p.png", "--show", size=(0, 0, 0, 0))


def test_nobody_is_shown_what_they_do_not_want(server: FakeServer, tmp_path: Path) -> None:
    assert _SIXEL not in _in_terminal(True, server, tmp_path / "p.png", "--no-show")


def test_who_watches_sees_the_steps(server: FakeServer, tmp_path: Path) -> None:
    assert "step 1 of 2" in _in_terminal(False, server, tmp_path / "p.png")


def test_words_are_completed() -> None:
    assert words("ddim", "unipc")("u") == ["unipc"]


class _Typed:
    def __init__(self, address: str) -> None:
        self.params = {"address": address}


def test_concepts_are_completed_by_the_server(server: FakeServer) -> None:
    server.concepts = b'{"concepts": [{"name": "toy", "version": ""}], "more": false}'
    assert concepts(_Typed(server.address), "t") == ["toy"]  # type: ignore[arg-type]
    assert server.patterns == [b"t*"]
    assert concepts(_Typed(server.address), "*") == []  # type: ignore[arg-type]
    assert concepts(_Typed("localhost:1"), "t") == []  # type: ignore[arg-type]
