"""The way to Triton itself: a socket in a folder of ours, and a secret that every one of its protocols asks for."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from serving.errors import LaunchError

HEADER = "vico-front"
PROTOCOLS = "health,metadata,inference,shared-memory,model-config,model-repository,statistics,trace,logging"
"""All that Triton 2.51 has: none answers without the secret."""

_PORT = 1
"""Triton always appends `:<port>`; of a socket's path it is but the end of the file name."""
_LONGEST_PATH = 107


@dataclass(frozen=True)
class Private:
    """Address and secret; both are new at every start of the command."""

    socket: str
    """Path of the socket, without Triton's `:<port>`."""
    secret: str

    @staticmethod
    def in_folder(folder: Path) -> Private:
        """In a folder that no other user may enter.

        Raises:
            LaunchError: its path is too long for a socket.
        """
        socket = str(folder / "triton")
        if len(f"{socket}:{_PORT}") > _LONGEST_PATH:
            raise LaunchError("TMPDIR", "its path is too long for a socket", "a shorter one")
        return Private(socket, secrets.token_urlsafe(32))

    @property
    def address(self) -> str:
        """For gRPC channels."""
        return f"unix:{self.socket}:{_PORT}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call must carry."""
        return ((f"triton-grpc-protocol-{HEADER}", self.secret),)

    @property
    def options(self) -> list[str]:
        """Of tritonserver."""
        return [
            f"--grpc-address=unix:{self.socket}",
            f"--grpc-port={_PORT}",
            f"--grpc-restricted-protocol={PROTOCOLS}:{HEADER}={self.secret}",
        ]
