"""Concepts come, change, break and go in an object store, under a running server and under an operator's hands."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from served import Answer, Caller, Served, start_server, wait_until

if TYPE_CHECKING:
    from conftest import Exported

SECRET = "the-operators-own-secret"
PATIENCE = 120.0
"""Seconds for what takes one look at the registry."""


@dataclass
class Swapped:
    """A server on an S3 registry, its operator, and the registry's files."""

    exported: Exported
    work: Path
    files: Any
    emulator: Any
    bucket: str
    call: Caller
    admin: Any

    def put(self, concept_id: str, seed: int) -> str:
        """Write a concept into the bucket; returns its digest."""
        from vico.concept import read_package

        path = self.exported.make_concept(self.work, concept_id, seed=seed)
        self.files.put_file(str(path), f"{self.bucket}/{concept_id}.safetensors")
        return read_package(path).digest

    def picture(self, concept: str) -> Answer:
        return self.call(prompt="a * toy", concept=concept, steps=2, seed=5, output_format="raw")

    def serves(self, concept: str, digest: str) -> bool:
        """Whether a request for `concept` is answered with this version."""
        answer = self.call.ask(prompt="a * toy", concept=concept, steps=1)
        return isinstance(answer, Answer) and answer.info["concept"].endswith(f"@{digest}")

    def codes(self, concept: str) -> list[str]:
        answer = self.call.ask(prompt="a * toy", concept=concept, steps=1)
        return [warning["code"] for warning in answer.info["warnings"]] if isinstance(answer, Answer) else []


@pytest.fixture
def swapped(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swapped]:
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    from serving.admin.client import Remote

    emulator = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    emulator.start()
    host, port = emulator.get_host_and_port()
    secrets = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in ({"AWS_ENDPOINT_URL": f"http://{host}:{port}"} | secrets).items():
        monkeypatch.setenv(name, value)
    bucket = f"concepts-{os.urandom(4).hex()}"
    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    files.mkdir(bucket)
    files.pipe_file(f"{bucket}/readme.txt", b"concepts")
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    options = ("--registry-seconds", "0.2", "--admin-secret-file", str(secret), "--admin-port", str(_free_port()))
    served: Served = start_server(exported.folder, f"s3://{bucket}", tmp_path / "log", *options)
    admin = Remote(f"127.0.0.1:{options[-1]}", SECRET)
    yield Swapped(exported, tmp_path, files, emulator, bucket, Caller(served.address), admin)
    assert served.stop() == 0, served.log()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_life_of_concepts(swapped: Swapped) -> None:
    # a new one, its successor, and back: every picture is of the version that was asked for
    first = swapped.put("bear", seed=1)
    assert wait_until(lambda: swapped.serves("bear", first), PATIENCE)
    a = swapped.picture("bear").images
    swapped.admin("Alias", name="bear-prod", target="bear")
    assert wait_until(lambda: swapped.serves("bear-prod", first), PATIENCE)
    second = swapped.put("bear", seed=2)
    assert wait_until(lambda: swapped.serves("bear", second), PATIENCE)
    b = swapped.picture("bear").images
    assert a != b
    assert swapped.picture("bear-prod").images == a, "an alias stands still"
    swapped.admin("Alias", name="bear-prod", target="bear")
    assert wait_until(lambda: swapped.serves("bear-prod", second), PATIENCE)
    assert swapped.picture("bear-prod").images == b
    swapped.admin("Rollback", name="bear-prod")
    assert wait_until(lambda: swapped.serves("bear-prod", first), PATIENCE)
    assert swapped.picture("bear-prod").images == a

    # pinned: the stage that draws says that it holds it
    swapped.admin("Pin", name="bear-prod")

    def drawn_from_memory() -> bool:
        places = {place["stage"]: place for place in swapped.admin("Describe", name="bear-prod")["residence"]}
        return "unet_loop" in places and places["unet_loop"]["host"] and places["unet_loop"]["slot"]

    assert wait_until(drawn_from_memory, PATIENCE)
    assert swapped.admin("Describe", name="bear-prod")["pinned"]

    # broken in the store: what was loaded goes on, and says so
    swapped.files.pipe_file(f"{swapped.bucket}/bear.safetensors", b"torn")
    assert wait_until(lambda: swapped.codes("bear") == ["concept_stale"], PATIENCE)
    assert swapped.picture("bear").images == b
    third = swapped.put("bear", seed=3)
    assert wait_until(lambda: swapped.serves("bear", third), PATIENCE)
    assert swapped.codes("bear") == []

    # removed: gone for new requests, by every name
    swapped.admin("Unalias", name="bear-prod")
    swapped.admin("Remove", name="bear")
    assert wait_until(lambda: not isinstance(swapped.call.ask(prompt="a *", concept="bear", steps=1), Answer), PATIENCE)
    for name in ("bear", "bear-prod", f"bear@{third}"):
        refusal = swapped.call.refused(prompt="a * toy", concept=name, steps=1)
        assert refusal.status == "NOT_FOUND", refusal
        assert swapped.bucket not in refusal.message

    # the store is lost: what is loaded goes on
    cat = swapped.put("cat", seed=4)
    assert wait_until(lambda: swapped.serves("cat", cat), PATIENCE)
    swapped.emulator.stop()
    assert wait_until(lambda: swapped.codes("cat") == ["registry_unreachable"], PATIENCE)
    refusal = swapped.call.refused(prompt="a * toy", concept="dog", steps=1)
    assert refusal.status == "UNAVAILABLE"
    assert "127.0.0.1" not in refusal.message
    assert swapped.call(prompt="a toy", steps=1).images
