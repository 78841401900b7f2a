"""How the load travels: over TLS, as several tenants, as streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from fake_vico_server import FakeServer, bytes_tensor, info_of, picture, running, stream_response
from typer.testing import CliRunner
from vico_client import TLS, GenerateRequest, InvalidRequest, ServerError
from vico_client.loadtest.answer import WatchedAnswer, WholeAnswer
from vico_client.loadtest.cli import app
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.records import read_records
from vico_client.loadtest.route import Tenant, make_route, read_tenants

TENANTS = "# who\nacme key-a\n\nother key-b\n"


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "workload.toml"
    path.write_text(
        'prompts = ["a *"]\nplain_prompts = ["a dog"]\n[concepts]\nids = ["toy"]\nplain_share = 0.5\n'
        "[fields]\nsteps = 3\n"
    )
    return path


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[FakeServer, list[str]]]:
    """A server that wants certificates of its clients, and the options to get in."""
    authority, clients = trustme.CA(), trustme.CA()
    issued, own = authority.issue_cert("localhost"), clients.issue_cert("client@example.org")
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(paths["ca"]))
    own.cert_chain_pems[0].write_to_path(str(paths["cert"]))
    own.private_key_pem.write_to_path(str(paths["key"]))
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], clients.cert_pem.bytes(), True)
    with running(credentials) as (fake, _):
        yield fake, [part for name, path in paths.items() for part in (f"--tls-{name}", str(path))]


def _run(server: FakeServer, folder: Path, workload: Path, *more: str) -> dict[str, Any]:
    fixed = ["run", "-a", server.address, "-o", str(folder), "-w", str(workload), "--quiet", "--warmup", "0", "--json"]
    done = CliRunner().invoke(app, [*fixed, "--rate", "10", "--duration", "2", *more])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_tenants_over_mutual_tls(secure: tuple[FakeServer, list[str]], tmp_path: Path, workload: Path) -> None:
    server, tls = secure
    file = tmp_path / "tenants"
    file.write_text(TENANTS)
    told = _run(server, tmp_path / "out", workload, *tls, "--tenants", str(file), "--check", "0.5")
    records = read_records(tmp_path / "out")
    assert {item.tenant for item in records} == {"acme", "other"}
    shown = {call.request_id: call.metadata["authorization"] for call in server.calls}
    keys = {"acme": "Bearer key-a", "other": "Bearer key-b"}
    assert all(shown[item.request_id] == keys[item.tenant] for item in records)
    compared = [item for item in records if f"{item.request_id}-alone" in shown]
    assert compared
    assert all(shown[f"{item.request_id}-alone"] == keys[item.tenant] for item in compared)
    counts = Counter(item.tenant for item in records)
    assert {name: own["count"] for name, own in told["tenants"].items()} == counts
    assert told["run"]["tenants"] == ["acme", "other"]
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or (b"key-a" not in path.read_bytes() and b"key-b" not in path.read_bytes())


def test_streams_are_timed_to_the_first_preview_and_picture(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    told = _run(server, tmp_path / "out", workload, "--stream", "--check", "0.5")
    assert told["run"]["stream"]
    assert told["first_preview"]["count"] == told["first_picture"]["count"] == told["counts"]["ok"]
    assert told["correctness"]["identical"] == told["correctness"]["compared"] > 0
    for item in read_records(tmp_path / "out"):
        assert item.first_preview is not None
        assert item.first_picture is not None
        assert item.sent <= item.first_preview <= item.first_picture <= item.done
    page = (tmp_path / "out" / "report.html").read_text()
    assert "first preview" in page


def test_without_streams_nothing_is_said_of_them(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    told = _run(server, tmp_path / "out", workload)
    assert told["first_preview"] is None
    assert told["tenants"] == {}


def test_users_of_a_closed_loop_belong_to_one_tenant() -> None:
    route = make_route("localhost:1", 1.0, None, (Tenant("a", "x"), Tenant("b", "y")), stream=False)
    assert [route.turn(number, None) for number in range(4)] == [0, 1, 0, 1]
    assert {route.turn(number, 3) for number in range(9)} == {1}
    assert "x" not in repr(Tenant("a", "x"))


@pytest.mark.parametrize("text", ["", "# none\n", "acme\n", "acme key key\n", "acme k1\nacme k2\n"])
def test_a_file_of_tenants_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "tenants").write_text(text)
    with pytest.raises(LoadTestError, match="tenants") as caught:
        read_tenants(tmp_path / "tenants")
    assert "k1" not in str(caught.value)


def test_a_route_leads_to_one_server() -> None:
    with pytest.raises(LoadTestError, match="address"):
        make_route("a:1,b:2", 1.0, None, (), stream=False)
    with pytest.raises(InvalidRequest, match="root_certificates"):
        make_route("a:1", 1.0, TLS("/no/such.pem"), (), stream=False)


def _watched(*messages: Any, num_images: int | None = None) -> WatchedAnswer:
    times = iter(range(99))
    answer = WatchedAnswer(GenerateRequest("a", num_images=num_images), lambda: float(next(times)))
    for message in messages:
        answer.read(message.SerializeToString())
    return answer


def _image(index: int) -> Any:
    return stream_response({"type": "image", "index": index}, images=bytes_tensor([picture("png", 8, 8)]))


def _progress(preview: bytes) -> Any:
    return stream_response({"type": "progress"}, preview=bytes_tensor([preview]))


END = stream_response({"type": "end"}, info=bytes_tensor([json.dumps(info_of({})).encode()]))


def test_the_first_preview_is_the_first_that_shows_something() -> None:
    received = _watched(_progress(b""), _progress(b"x"), _progress(b"y"), _image(1), _image(0), END, num_images=2).end()
    assert (received.first_preview, received.first_picture, received.done) == (1.0, 3.0, 4.0)
    assert len(received.files) == 2


@pytest.mark.parametrize("messages", [(), (_image(0),), (END,), (_image(0), _image(1), END)])
def test_a_stream_that_is_not_whole(messages: tuple[Any, ...]) -> None:
    with pytest.raises(ServerError, match="malformed"):
        _watched(*messages).end()


def test_nonsense_is_the_servers_fault() -> None:
    for answer in (WholeAnswer(GenerateRequest("a"), lambda: 0.0), _watched()):
        with pytest.raises(ServerError):
            answer.read(b"\xff\xff")
