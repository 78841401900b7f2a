"""A slow network between a client and a server."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress


class Relay:
    """Passes bytes on in both directions, unless it is told to hold them back. Close it when done.

    `passed` counts them.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._passing = threading.Event()
        self._passing.set()
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """For clients, by the name in the server's certificate."""
        return f"localhost:{self._listener.getsockname()[1]}"

    def hold(self) -> None:
        """Pass nothing on any more."""
        self._passing.clear()

    def close(self) -> None:
        """Take no more calls; those under way end with the client."""
        self._passing.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with closing(source), closing(target), suppress(OSError):
            while data := source.recv(2**16):
                self._passing.wait()
                self.passed += len(data)
                target.sendall(data)
