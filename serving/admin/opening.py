"""The admin service beside a running server."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from serving.admin.concepts import ConceptAdmin
from serving.admin.service import AdminService
from serving.concepts.opening import open_source
from serving.config import ServingConfig


def open_admin(
    config: ServingConfig, store: Path, secret: str, port: int
) -> AbstractContextManager[AdminService | None]:
    """The service over the registry of `config`; none if `secret` is empty.

    Args:
        store: of the server, which tells what is resident.

    Raises:
        LaunchError: the registry cannot be opened, or the port is taken.
    """
    if not secret:
        return nullcontext()
    return AdminService(ConceptAdmin(open_source(config.registry), store), secret, port)
