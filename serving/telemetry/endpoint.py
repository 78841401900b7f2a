"""The one place that Prometheus asks: our own numbers of every process, and Triton's own behind them."""

from __future__ import annotations

import logging
import socket
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from serving.errors import LaunchError
from serving.telemetry import catalogue as of
from serving.telemetry.folder import bury_the_dead, registry_of
from serving.telemetry.instruments import Instruments

logger = logging.getLogger("vico.telemetry")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SCRAPES = 8
"""At once; whoever else connects meanwhile is hung up on."""
_TRITON_SECONDS = 2.0
_IDLE_SECONDS = 10.0

_to_triton = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MetricsEndpoint:
    """`GET /metrics` in threads of its own, without a key; use it as a context manager.

    Args:
        host: address to listen on.
        port: 0 = any free one.
        folder: where the other processes count.
        make: instruments of this process, whose numbers are shown too.
        triton_port: of Triton's own metrics, on the loopback.

    Raises:
        LaunchError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, folder: Path, make: Instruments, triton_port: int) -> None:
        self._page = _Page(folder, make.registry, make.gauge(of.TRITON_UP)[""], triton_port)
        try:
            self._server = _Server((host, port), self._page)
        except OSError:
            raise LaunchError("metrics_port", f"{host}:{port} cannot be listened to", "a free port") from None
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def address(self) -> str:
        """host:port."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> MetricsEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Page:
    def __init__(self, folder: Path, own: CollectorRegistry, triton_up: Gauge, triton_port: int) -> None:
        self._folder = folder
        self._own = own
        self._triton_up = triton_up
        self._alone = Lock()
        self._triton = f"http://127.0.0.1:{triton_port}/metrics"

    def text(self) -> bytes:
        """In Prometheus' text format."""
        tritons = self._of_triton()
        self._triton_up.set(bool(tritons))
        with self._alone:
            bury_the_dead(self._folder)
            counted = generate_latest(registry_of(self._folder))
        return generate_latest(self._own) + counted + tritons

    def _of_triton(self) -> bytes:
        try:
            with _to_triton.open(self._triton, timeout=_TRITON_SECONDS) as answer:
                content: bytes = answer.read()
        except OSError:
            # starting, or mending: ours are the ones that tell
            return b""
        return content


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], page: _Page) -> None:
        self.page = page
        self._room = BoundedSemaphore(MAX_SCRAPES)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without asking a name server for our own name, as HTTPServer would."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.warning("a scrape failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_SECONDS
    server: _Server
    server_version = "vico"
    sys_version = ""

    def do_GET(self) -> None:
        """The page."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        body = self.server.page.text()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """A scrape is no news."""
