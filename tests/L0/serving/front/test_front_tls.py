"""TLS at the door: who gets a connection, and what a rotated certificate changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from fake_triton import request_of, run, served, text

from serving.errors import LaunchError
from serving.front.config import TLSFiles
from serving.front.tls import server_credentials
from serving.front.wire import SERVICE

GOOD = request_of(prompt=text(b"a dog")).SerializeToString()


class Files:
    """A server's certificate, and the authority of its clients."""

    def __init__(self, folder: Path, mutual: bool = False) -> None:
        self.clients = trustme.CA()
        paths = [str(folder / name) for name in ("cert.pem", "key.pem", "clients.pem")]
        self.tls = TLSFiles(paths[0], paths[1], paths[2] if mutual else None)
        self.clients.cert_pem.write_to_path(paths[2])
        self.authority = self.renew()

    def renew(self) -> trustme.CA:
        """A new certificate of a new authority."""
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        Path(self.tls.certificate).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.tls.key)
        Path(self.tls.key).chmod(0o600)
        return authority


def credentials(authority: trustme.CA, clients: trustme.CA | None = None) -> Any:
    if clients is None:
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    own = clients.issue_cert("client@example.org")
    chain = b"".join(blob.bytes() for blob in own.cert_chain_pems)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), own.private_key_pem.bytes(), chain)


@asynccontextmanager
async def door(folder: Path, files: Files) -> AsyncIterator[str]:
    async with served(folder, tls=files.tls) as (_, _triton, address):
        yield address.replace("127.0.0.1", "localhost")


async def status(address: str, how: Any) -> str:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.secure_channel(address, how, options=options)
        if how
        else grpc.aio.insecure_channel(address, options=options)
    )
    async with channel:
        try:
            await channel.unary_unary(SERVICE + "ModelInfer")(GOOD, timeout=60)
        except grpc.aio.AioRpcError as error:
            name: str = error.code().name
            return name
        return "OK"


def test_only_tls_and_only_of_the_right_authority(tmp_path: Path) -> None:
    async def work() -> None:
        files = Files(tmp_path)
        async with door(tmp_path, files) as address:
            assert await status(address, credentials(files.authority)) == "OK"
            assert await status(address, credentials(trustme.CA())) == "UNAVAILABLE"
            assert await status(address, None) == "UNAVAILABLE"

    run(work())


def test_mutual_tls_asks_for_a_certificate_of_the_authority(tmp_path: Path) -> None:
    async def work() -> None:
        files = Files(tmp_path, mutual=True)
        async with door(tmp_path, files) as address:
            assert await status(address, credentials(files.authority, files.clients)) == "OK"
            assert await status(address, credentials(files.authority)) == "UNAVAILABLE"
            assert await status(address, credentials(files.authority, trustme.CA())) == "UNAVAILABLE"

    run(work())


def test_a_rotated_certificate_counts_from_the_next_connection_and_a_torn_one_never(tmp_path: Path) -> None:
    async def work() -> None:
        files = Files(tmp_path)
        async with door(tmp_path, files) as address:
            assert await status(address, credentials(files.authority)) == "OK"
            renewed = files.renew()
            assert await status(address, credentials(renewed)) == "OK"
            assert await status(address, credentials(files.authority)) == "UNAVAILABLE"
            Path(files.tls.certificate).write_text("torn")
            assert await status(address, credentials(renewed)) == "OK"

    run(work())


@pytest.mark.parametrize(
    ("mode", "may"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o666, False)]
)
def test_a_key_that_others_may_read_stops_the_start(tmp_path: Path, mode: int, may: bool) -> None:
    files = Files(tmp_path)
    Path(files.tls.key).chmod(mode)
    if may:
        assert server_credentials(files.tls)
    else:
        with pytest.raises(LaunchError, match=r"^key: others than its owner may read it"):
            server_credentials(files.tls)


@pytest.mark.parametrize(("name", "field"), [(name, name) for name in ("certificate", "key", "client_ca")])
def test_absent_and_foreign_files_are_named_at_the_start(tmp_path: Path, name: str, field: str) -> None:
    files = Files(tmp_path, mutual=True)
    path = Path(getattr(files.tls, name))
    path.write_text("not PEM")
    with pytest.raises(LaunchError, match=f"^{field}: not what it should be"):
        server_credentials(files.tls)
    path.unlink()
    with pytest.raises(LaunchError, match=f"^{field}: cannot be read"):
        server_credentials(files.tls)
