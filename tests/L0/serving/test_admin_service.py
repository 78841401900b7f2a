from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from concept_room import folder_view
from google.protobuf.struct_pb2 import Struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from serving.admin.cli import UNREACHABLE, concepts
from serving.admin.client import Remote
from serving.admin.commands import COMMANDS
from serving.admin.concepts import ConceptAdmin
from serving.admin.secret import matches
from serving.admin.service import SERVICE, THREADS, AdminService
from serving.errors import ConceptNotFound, InvalidField, LaunchError, RegistryUnreachable
from serving.secret_file import read_secret
from tests.helpers.concepts import make_concept
from vico.errors import VicoError

SECRET = "a-secret-of-some-length"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    view = folder_view(tmp_path)
    make_concept(tmp_path / "registry", "bear")
    view.watcher.look()
    return tmp_path / "registry"


@pytest.fixture
def service(registry: Path, tmp_path: Path) -> Iterator[AdminService]:
    with AdminService(folder_view(tmp_path).admin, SECRET) as service:
        yield service


def _raw(service: AdminService, method: str, body: bytes = b"", **metadata: str) -> grpc.StatusCode:
    with grpc.insecure_channel(service.address) as channel:
        call = channel.unary_unary(method)
        try:
            call(body, timeout=60, metadata=tuple(metadata.items()))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_every_command_through_the_service(service: AdminService, registry: Path) -> None:
    call = Remote(service.address, SECRET)
    [row] = call("List")["concepts"]
    assert row["name"] == "bear"
    assert isinstance(row["size_bytes"], int)
    assert call("Alias", name="prod", target="bear") == {"revision": 1}
    assert call("Pin", name="prod") == {"revision": 2}
    assert call("Prefetch", name="bear") == {"revision": 3}
    assert call("Unpin", name="prod") == {"revision": 4}
    make_concept(registry, "bear", seed=3)
    call("Alias", name="prod", target="bear")
    assert call("Rollback", name="prod") == {"revision": 6}
    described = call("Describe", name="prod")
    assert described["aliases"] == ["prod"]
    assert described["prefetched"] is False
    call("Unalias", name="prod")
    call("Remove", name="bear")
    assert call("List") == {"concepts": []}
    make_concept(registry, "bear", seed=3)
    [row] = call("List")["concepts"]
    assert row["error"] == "removed by the operator"
    call("Restore", digest=row["digest"])
    assert call("List")["concepts"][0]["error"] == ""


def test_the_proto_names_exactly_these_commands() -> None:
    text = (Path(__file__).parents[3] / "serving" / "admin" / "concepts.proto").read_text()
    named = {line.split()[1].split("(")[0] for line in text.splitlines() if line.strip().startswith("rpc ")}
    assert named == set(COMMANDS)
    assert f"package {SERVICE.rpartition('.')[0]};" in text


@pytest.mark.parametrize("method", [*COMMANDS, "Nonsense"])
def test_nothing_is_done_without_the_secret(service: AdminService, registry: Path, method: str) -> None:
    path, body = f"/{SERVICE}/{method}", Struct()
    body.update({"name": "bear"})
    for metadata in (
        {},
        {"authorization": ""},
        {"authorization": SECRET},
        {"authorization": f"Bearer {SECRET}x"},
        {"authorization": f"Bearer {SECRET[:-1]}"},
        {"authorization": f"bearer {SECRET}"},
        {"secret": SECRET},
    ):
        assert _raw(service, path, body.SerializeToString(), **metadata) is grpc.StatusCode.UNAUTHENTICATED
    assert (registry / "bear.safetensors").exists()
    assert not (registry / ".vico").exists()


def test_half_calls_without_the_secret_hold_up_nobody(service: AdminService) -> None:
    """The server has a few threads: who shows no secret must not have one wait for a message that never comes."""
    more = Event()

    def never() -> Iterator[bytes]:
        more.wait(60)
        yield b""

    with grpc.insecure_channel(service.address) as channel:
        waiting = [channel.stream_unary(f"/{SERVICE}/List").future(never()) for _ in range(3 * THREADS)]
        assert _raw(service, f"/{SERVICE}/List", authorization=f"Bearer {SECRET}") is grpc.StatusCode.OK
        assert {call.code() for call in waiting} == {grpc.StatusCode.UNAUTHENTICATED}
        more.set()


def test_tritons_own_methods_are_not_here(service: AdminService) -> None:
    metadata = {"authorization": f"Bearer {SECRET}"}
    for method in ("/inference.GRPCInferenceService/RepositoryModelLoad", f"/{SERVICE}/Nonsense", "/x/y"):
        assert _raw(service, method, b"", **metadata) is grpc.StatusCode.UNIMPLEMENTED


def test_a_refusal_arrives_as_it_was(service: AdminService, registry: Path) -> None:
    call = Remote(service.address, SECRET)
    with pytest.raises(ConceptNotFound, match=r"^concept: no concept 'none'; accepted: ") as caught:
        call("Describe", name="none")
    assert str(registry) not in str(caught.value)
    with pytest.raises(InvalidField, match=r"^target: missing"):
        call("Alias", name="prod")
    with pytest.raises(InvalidField, match=r"^colour: unknown"):
        call("Pin", name="bear", colour="red")
    with pytest.raises(VicoError, match=r"^authorization: wrong"):
        Remote(service.address, SECRET + "x")("List")


def test_our_own_fault_tells_nothing(
    service: AdminService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(ConceptAdmin, "list", broken)
    with pytest.raises(VicoError, match="failed inside the server") as caught:
        Remote(service.address, SECRET)("List")
    assert "secret" not in str(caught.value)
    assert "/secret/path" in caplog.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(sorted(COMMANDS)), body=st.binary(max_size=200))
def test_any_bytes_are_answered(service: AdminService, method: str, body: bytes) -> None:
    code = _raw(service, f"/{SERVICE}/{method}", body, authorization=f"Bearer {SECRET}")
    allowed = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    # grpc's own word for bytes that are no message is INTERNAL
    assert code in allowed | {grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


def test_a_huge_message_is_refused(service: AdminService) -> None:
    body = Struct()
    body.update({"name": "x" * 2**17})
    code = _raw(service, f"/{SERVICE}/Pin", body.SerializeToString(), authorization=f"Bearer {SECRET}")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_loopback_is_listened_to(service: AdminService) -> None:
    tables = [Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    listening = [line.split()[1] for table in tables for line in table.splitlines() if " 0A " in line]
    [address] = [address for address in listening if address.endswith(f":{service.port:04X}")]
    assert address.removeprefix("0000000000000000FFFF0000").startswith("0100007F:")


def test_a_taken_port_is_named(service: AdminService, registry: Path, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=f"admin-port: {service.port} is taken"):
        AdminService(folder_view(tmp_path).admin, SECRET, service.port)


def test_a_secret_is_a_private_file_of_some_length(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    with pytest.raises(LaunchError, match="others than its owner"):
        read_secret(file)
    file.chmod(0o600)
    assert read_secret(file) == SECRET
    for bad in (b"short\n", b"", "ünicode-secret-of-length".encode(), b"\xff" * 20):
        file.write_bytes(bad)
        with pytest.raises(LaunchError):
            read_secret(file)
    with pytest.raises(LaunchError, match="cannot be read"):
        read_secret(tmp_path / "none")
    assert matches(f"Bearer {SECRET}", SECRET)
    assert not matches("Bearer \udcff", SECRET)


def _cli(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(concepts, arguments)
    if isinstance(result.exception, VicoError):
        # what `vico.cli.main` makes of it
        return 1, str(result.exception)
    return result.exit_code, result.output


def test_the_command_line_on_a_registry(registry: Path) -> None:
    folder = ("--registry", str(registry))
    assert _cli(*folder, "alias", "prod", "bear") == (0, "revision 1\n")
    assert _cli(*folder, "--json", "pin", "prod") == (0, '{\n  "revision": 2\n}\n')
    code, output = _cli(*folder, "list")
    assert code == 0
    assert "prod" in output
    assert "pinned" in output
    found = json.loads(_cli(*folder, "--json", "list")[1])["concepts"]
    assert [row["name"] for row in found] == ["bear", "prod"]
    code, output = _cli(*folder, "describe", "prod")
    assert code == 0
    assert found[0]["digest"][:40] in output
    code, output = _cli(*folder, "remove", "bear")
    assert (code, "aliases stand for it: prod" in output) == (1, True)
    assert _cli(*folder, "explode")[0] == 2
    assert _cli("--registry", str(registry / "none"), "list")[0] == 1
    assert _cli("list")[0] == 1, "neither a registry nor a secret"


def test_the_command_line_through_the_service(service: AdminService, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    where = ("--server", service.address, "--secret-file", str(secret))
    assert _cli(*where, "alias", "prod", "bear")[0] == 0
    assert "prod" in _cli(*where, "list")[1]
    assert _cli(*where, "describe", "none")[0] == 1
    service.close()
    assert _cli(*where, "list")[0] == UNREACHABLE
    with pytest.raises(RegistryUnreachable, match="does not answer"):
        Remote(service.address, SECRET)("List")
