"""`vico gateway` as a process, before a fake server: its one line, its end, and callers who hang up."""

from __future__ import annotations

import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fake_vico_server import Call, FakeServer, pictures, running

_PROGRAM = "import typer; from vico_client.gateway.cli import gateway; typer.run(gateway)"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running() as (fake, _):
        yield fake


@contextmanager
def _gateway(server: FakeServer, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its URL and process; ended with SIGTERM if it still runs."""
    command = [sys.executable, "-c", _PROGRAM, "--address", server.address, "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(400, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"ready: (https?://\S+)/v1\n", line)
        assert found, (line, process.communicate())
        yield found[1], process
    finally:
        process.terminate()
        process.communicate()
        watchdog.cancel()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_ends_well(server: FakeServer, number: signal.Signals) -> None:
    with _gateway(server) as (url, process):
        answer = httpx.post(f"{url}/v1/images/generations", json={"prompt": "a", "user": "ann"}, timeout=120)
        assert answer.status_code == 200
        assert "server" not in answer.headers
        assert httpx.get(f"{url}/health/live", timeout=120).status_code == 200
        # this server does not speak the health protocol
        assert httpx.get(f"{url}/health/ready", timeout=120).status_code == 503
        process.send_signal(number)
        assert process.wait(120) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert server.keys == [None]


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_ends_the_work(server: FakeServer, stream: bool) -> None:
    release = threading.Event()

    def slow(call: Call) -> Any:
        release.wait(200)
        return pictures(call)

    server.answer = slow
    with _gateway(server) as (url, _):
        asked = {"prompt": "a", "stream": stream}
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys, httpx; httpx.post(sys.argv[1], json=eval(sys.argv[2]), timeout=None)",
             f"{url}/v1/images/generations", repr(asked)],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert server.entered.wait(200)
        process.kill()
        process.wait()
        assert server.cancelled.wait(200)
    release.set()


def test_https(server: FakeServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    with _gateway(server, "--https-cert", str(cert), "--https-key", str(key)) as (url, _):
        trusting = ssl.create_default_context(cafile=str(ca))
        assert url.startswith("https://")
        assert httpx.get(f"{url}/health/live", verify=trusting, timeout=120).status_code == 200


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--address", "http://x"], 1, "address"),
        (["--tls-ca", "/no/such.pem"], 1, "root_certificates"),
        (["--https-cert", "/no/such.pem"], 2, "both"),
        (["--https-cert", "/no/such.pem", "--https-key", "/no/key.pem"], 1, "https_cert"),
        (["--host", "203.0.113.1", "--insecure"], 1, "port"),
        (["--host", "203.0.113.1"], 2, "insecure"),
        (["--host", "0.0.0.0"], 2, "insecure"),
        (["--host", "::"], 2, "insecure"),
        (["--host", "a.name.of.this.machine"], 2, "insecure"),
        (["--port", "many"], 2, "port"),
    ],
)
def test_what_cannot_begin_is_said(options: list[str], code: int, words: str) -> None:
    command = [sys.executable, "-c", _PROGRAM, "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == code, done
    assert words in done.stderr
    assert "Traceback" not in done.stderr
