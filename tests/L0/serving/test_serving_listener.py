"""The thread behind a socket: it outlives whatever comes, and what was there before it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.listener import Listener


def send(path: Path, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(content, str(path))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_after_the_other_until_it_is_closed(tmp_path: Path) -> None:
    path, got = tmp_path / "socket", list[bytes]()
    path.write_text("left by a process that was killed")
    listener = Listener(path, socket.SOCK_DGRAM, lambda listening: got.append(listening.recv(99)), "test")
    for number in range(20):
        send(path, b"%d" % number)
    wait_for(lambda: len(got) == 20)
    assert got == [b"%d" % number for number in range(20)]
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("fault", "said"), [(OSError(24, "Too many open files"), "took nothing"), (ValueError("no letter"), "was lost")]
)
def test_a_fault_is_logged_and_outlived(
    tmp_path: Path, fault: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, got = tmp_path / "socket", list[bytes]()

    def take(listening: socket.socket) -> None:
        content = listening.recv(99)
        if content == b"bad":
            raise fault
        got.append(content)

    listener = Listener(path, socket.SOCK_DGRAM, take, "test")
    send(path, b"bad")
    send(path, b"good")
    wait_for(lambda: got == [b"good"])
    listener.close()
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert str(tmp_path) not in caplog.records[0].getMessage()
