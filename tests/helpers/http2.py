"""As much of HTTP/2 as it takes to be told to go away."""

from __future__ import annotations

import socket
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_HEAD = 9
_GOAWAY = 7


def told_to_go(address: str, seconds: float) -> bool:
    """Whether a server ends a connection in good order (GOAWAY) within so many seconds; `address` is host:port."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + seconds
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(_PREFACE)
        while time.monotonic() < until:
            try:
                head = _exactly(connection, _HEAD)
                _exactly(connection, int.from_bytes(head[:3]))
            except (TimeoutError, EOFError):
                return False
            if head[3] == _GOAWAY:
                return True
    return False


def _exactly(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content
