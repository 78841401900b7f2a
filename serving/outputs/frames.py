"""Messages between a stage and its safety checker: a length, then as many bytes, over a socket."""

from __future__ import annotations

import socket
import struct
import time

_LENGTH = struct.Struct("<Q")
_PIECE = 2**20


def send_frame(to: socket.socket, content: bytes, until: float | None = None) -> None:
    """Send one message.

    Args:
        to: the other end.
        content: of any length.
        until: a moment of the monotonic clock; None = for ever.

    Raises:
        OSError: the other end is gone, or the moment has passed.
    """
    to.settimeout(_left(until))
    to.sendall(_LENGTH.pack(len(content)) + content)


def receive_frame(of: socket.socket, longest: int, until: float | None = None) -> bytes:
    """One message of at most `longest` bytes; empty when the other end has closed.

    Raises:
        OSError: torn or too long, or the moment has passed.
    """
    head = _receive(of, _LENGTH.size, until)
    if not head:
        return b""
    (length,) = _LENGTH.unpack(head)
    if length > longest:
        raise OSError(f"a message of {length} bytes")
    content = _receive(of, length, until)
    if length and not content:
        raise OSError("torn")
    return content


def _receive(of: socket.socket, length: int, until: float | None) -> bytes:
    """So many bytes, or none if the other end has closed before the first."""
    got = bytearray()
    while len(got) < length:
        of.settimeout(_left(until))
        piece = of.recv(min(_PIECE, length - len(got)))
        if not piece and got:
            raise OSError("torn")
        if not piece:
            return b""
        got += piece
    return bytes(got)


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("too late")
    return left
