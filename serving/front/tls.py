"""TLS of the front door, mutual with a client authority; rotated certificates count from the next connection."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import grpc

from serving.errors import LaunchError
from serving.front.config import TLSFiles
from serving.secret_file import require_private

logger = logging.getLogger("vico.front")

_PRIVATE = b"PRIVATE KEY"


def server_credentials(files: TLSFiles) -> Any:
    """gRPC's credentials.

    Raises:
        LaunchError: a file is absent or not PEM, or others may read the key.
    """
    return _Certificates(files).credentials()


class _Certificates:
    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._stamp: tuple[int, ...] = ()

    def credentials(self) -> Any:
        self._stamp = self._stamp_now()
        first = self._read()
        return grpc.dynamic_ssl_server_credentials(first, self._newer, self._files.client_ca is not None)

    def _newer(self) -> Any:
        """Called by gRPC before every handshake; None = the same as before."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return None
        try:
            fresh = self._read()
        except LaunchError:
            logger.warning("the new certificate cannot be read: the old one stays")
            return None
        self._stamp = stamp
        return fresh

    def _read(self) -> Any:
        files = self._files
        pair = (_pem("key", files.key, _PRIVATE), _pem("certificate", files.certificate, b"CERTIFICATE"))
        authority = _pem("client_ca", files.client_ca, b"CERTIFICATE") if files.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def _stamp_now(self) -> tuple[int, ...]:
        stamps: list[int] = []
        for path in (self._files.certificate, self._files.key, self._files.client_ca):
            try:
                status = os.stat(path) if path else None  # noqa: PTH116 - one call, all fields
            except OSError:
                status = None
            stamps += (status.st_ino, status.st_mtime_ns) if status else (0, 0)
        return tuple(stamps)


def _pem(name: str, path: str, kind: bytes) -> bytes:
    try:
        status = Path(path).stat()
        content = Path(path).read_bytes()
    except OSError:
        raise LaunchError(name, "cannot be read", "the path of a PEM file") from None
    if kind == _PRIVATE:
        require_private(status, name)
    if kind not in content:
        raise LaunchError(name, "not what it should be", f"a PEM file with a {kind.decode()}")
    return content
