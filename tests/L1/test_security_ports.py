"""All that listens of a server with keys and an operator, and messages there that are larger than they look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from listeners import listeners, unix_names, with_descendants
from relay import Relay
from served import Served, start_server
from streamed import stream_body
from ways import OWN_CONNECTION

from serving.admin.secret import bearer
from serving.admin.service import MAX_MESSAGE_BYTES
from serving.admin.service import SERVICE as ADMIN
from serving.front.config import Limits
from serving.front.keys import Key, hashed, write_keys
from serving.front.wire import HEALTH, SERVICE

if TYPE_CHECKING:
    from conftest import Exported

MIB = 2**20
SECRET = "the-operators-own-secret"
WITH_KEY = (("authorization", "Bearer one"),)
WITH_SECRET = (("authorization", bearer(SECRET)),)
MOST_GROWTH = 64 * MIB
BOMB = bytes(128 * MIB)
"""An eighth of a MiB on the wire."""
ADMIN_BOMB = bytes(48 * MIB)
"""Less on the wire than the admin service takes."""


@pytest.fixture(scope="module")
def strict(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("strict")
    (folder / "registry").mkdir()
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    write_keys(folder / "keys.json", [Key(client="shop", tenant="acme", sha256=hashed("one"))])
    served = start_server(
        exported.folder, folder / "registry", folder / "log", "--keys", str(folder / "keys.json"),
        "--admin-secret-file", str(folder / "secret"), "--admin-port", "0",
    )  # fmt: skip
    yield served
    assert served.stop() == 0, served.log()


def check_listeners(served: Served, *known: str) -> None:
    """These, and nothing else in any process; by name no other user of the host gets to a socket."""
    pids = with_descendants(served.pid)
    assert pids >= {served.pid, served.front(), *served.processes()}
    assert listeners(pids) == set(known)
    assert {address.rpartition(":")[0] for address in known} == {"127.0.0.1"}
    [folder] = served.folders()
    assert folder.stat().st_mode & 0o077 == 0
    assert {Path(name).parent for name in unix_names(pids)} == {folder}


def test_what_listens_is_the_door_the_metrics_and_nothing_else(server: Served) -> None:
    assert not server.admin
    check_listeners(server, server.address, server.metrics, server.triton_metrics())


def test_with_an_operator_there_is_the_admin_service_too(strict: Served) -> None:
    check_listeners(strict, strict.address, strict.metrics, strict.triton_metrics(), strict.admin)


def outcome(address: str, path: str, content: bytes, metadata: Any = (), streams: bool = False) -> str:
    """Status of one call whose message is compressed."""
    options = [*OWN_CONNECTION, ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        how: dict[str, Any] = {"timeout": 120, "metadata": metadata, "compression": grpc.Compression.Gzip}
        try:
            if streams:
                list(channel.stream_stream(path)(iter([content]), **how))
            else:
                channel.unary_unary(path)(content, **how)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@contextmanager
def weighed(pid: int, most: int) -> Iterator[None]:
    """The process never holds more than `most` bytes beyond what it held when the block began."""
    # from here on the peak is counted anew
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = peak_bytes(pid)
    yield
    growth = peak_bytes(pid) - before
    print(f"grown by {growth / MIB:.1f} MiB")
    assert growth <= most


def peak_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


WAYS: dict[str, tuple[str, tuple[tuple[str, str], ...], bool, str]] = {
    "ModelInfer": (SERVICE + "ModelInfer", WITH_KEY, False, "RESOURCE_EXHAUSTED"),
    "ModelStreamInfer": (SERVICE + "ModelStreamInfer", WITH_KEY, True, "RESOURCE_EXHAUSTED"),
    "a question": (SERVICE + "ModelReady", WITH_KEY, False, "RESOURCE_EXHAUSTED"),
    "without a key": (SERVICE + "ModelInfer", (), False, "UNAUTHENTICATED"),
    # its message is not read
    "health": (HEALTH + "Check", (), False, "OK"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_message_that_inflates_does_not_at_the_door(strict: Served, way: str) -> None:
    path, metadata, streams, status = WAYS[way]
    relay = Relay(strict.address)
    with weighed(strict.front(), MOST_GROWTH):
        assert outcome(relay.address, path, BOMB, metadata, streams) == status
    assert relay.passed < Limits().message_bytes / 2, "it came compressed"
    relay.close()
    good = stream_body("vico", prompt="a" * 1000, steps=1)
    assert outcome(strict.address, SERVICE + "ModelInfer", good, WITH_KEY) == "OK", "compressed messages are read"


@pytest.mark.parametrize(
    ("metadata", "status"), [(WITH_SECRET, "RESOURCE_EXHAUSTED"), ((), "UNAUTHENTICATED")], ids=["secret", "none"]
)
def test_a_message_that_inflates_is_refused_by_the_admin_service(strict: Served, metadata: Any, status: str) -> None:
    relay = Relay(strict.admin)
    with weighed(strict.pid, len(ADMIN_BOMB) // 3):
        assert outcome(relay.address, f"/{ADMIN}/List", ADMIN_BOMB, metadata) == status
    assert relay.passed < MAX_MESSAGE_BYTES, "it came compressed"
    relay.close()
    asked: bytes = ParseDict({"a" * 1000: ""}, Struct()).SerializeToString()
    assert outcome(strict.admin, f"/{ADMIN}/List", asked, WITH_SECRET) == "INVALID_ARGUMENT", "it is read, and answered"
