"""What the tests of the client share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_vico_server import FakeServer, running
from hypothesis import settings
from vico_client import Client, Retry

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server that answers with pictures until a test says otherwise."""
    with running() as (fake, _):
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    """A blocking client of `server` that asks once."""
    with Client(server.address, timeout=10, retry=Retry(attempts=1)) as client:
        yield client
