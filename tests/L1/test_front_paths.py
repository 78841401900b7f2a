"""Every other path to what the front door guards, tried against the real server (docs/security.md lists them)."""

from __future__ import annotations

import json
import math
import re
import socket
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaks import LEAKS
from served import Answer, Caller, Refusal, Served, spawn, wait_until
from tritonclient.grpc import service_pb2 as pb
from ways import STREAMING, TO_PICTURES, TO_THE_LIST, Way, outcome_of, outcome_on

from serving.caller import Caller as Who
from serving.front.wire import SERVICE, TensorSpec
from serving.seal import Seal
from serving.stages.names import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = {
    "ModelStatistics": pb.ModelStatisticsRequest(),
    "RepositoryIndex": pb.RepositoryIndexRequest(),
    "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name="vico"),
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name="vico"),
    "SystemSharedMemoryStatus": pb.SystemSharedMemoryStatusRequest(),
    "SystemSharedMemoryRegister": pb.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8),
    "CudaSharedMemoryStatus": pb.CudaSharedMemoryStatusRequest(),
    "TraceSetting": pb.TraceSettingRequest(),
    "LogSettings": pb.LogSettingsRequest(),
}
OPEN = {
    "ServerLive": pb.ServerLiveRequest(),
    "ServerReady": pb.ServerReadyRequest(),
    "ServerMetadata": pb.ServerMetadataRequest(),
    "ModelReady": pb.ModelReadyRequest(name="vico"),
    "ModelMetadata": pb.ModelMetadataRequest(name="vico"),
    "ModelConfig": pb.ModelConfigRequest(name="vico"),
    "ModelInfer": pb.ModelInferRequest(model_name="vico"),
}
NAMED = json.dumps(asdict(Who("shop", "acme", ("*",), "call")))
STREAMS_BEHIND = (*TO_PICTURES[1:], TO_THE_LIST[1], Way("text_encoder", STREAMING))


@pytest.fixture(autouse=True)
def _goes_on_serving(call: Caller) -> Any:
    yield
    assert call(prompt="a", steps=1).images


@pytest.fixture
def ask(server: Served) -> Iterator[Callable[..., tuple[str, str]]]:
    with grpc.insecure_channel(server.address) as channel:
        yield lambda method, message, **more: outcome(channel, method, message, **more)


def outcome(channel: Any, method: str, message: Any, **options: Any) -> tuple[str, str]:
    """Status and words of one call."""
    path = method if method.startswith("/") else SERVICE + method
    body = message if isinstance(message, bytes) else message.SerializeToString()
    try:
        channel.unary_unary(path)(body, timeout=60, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


@pytest.mark.parametrize("method", METHODS)
def test_closed_protocols(ask: Any, method: str) -> None:
    for metadata in ([], [("triton-grpc-protocol-vico-front", "guess")], [("vico-front", "guess")]):
        assert ask(method, METHODS[method], metadata=metadata)[0] == "PERMISSION_DENIED"


def test_the_way_past_the_door_asks_for_the_secret(server: Served) -> None:
    private = server.private()
    path = Path(private.address.removeprefix("unix:"))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.parent.stat().st_mode & 0o077 == 0, "no other user gets to the socket"
    tries: list[Any] = [
        (), private.metadata[:0], (("vico-front", private.secret),), (("triton-grpc-protocol-vico-front", "guess"),),
        (("triton-grpc-protocol-vico-front", private.secret[:-1]),), (("triton-grpc-protocol-vico-front", ""),),
        (("triton-grpc-protocol-vico-front-bin", private.secret.encode()),),
        (("triton-grpc-protocol-vico-front", f"{private.secret} "), ("x", "y")),
    ]  # fmt: skip
    with grpc.insecure_channel(private.address) as channel:
        for method, message in (METHODS | OPEN | {"/grpc.health.v1.Health/Check": b""}).items():
            for metadata in tries[: 2 if method in METHODS else None]:
                status, words = outcome(channel, method, message, metadata=metadata)
                assert (status, "restricted" in words) == ("UNAVAILABLE", True), (method, metadata)
        for way in STREAMS_BEHIND:
            for metadata in [*tries, (("triton_grpc_error", "true"),)]:
                asked = outcome_on(way, channel, metadata, prompt="a", caller="{}")
                assert (asked.status, "restricted" in asked.words) == ("UNAVAILABLE", True), (way, metadata)
            open_and_silent = channel.stream_stream(SERVICE + STREAMING)(iter(()), timeout=60)
            with pytest.raises(grpc.RpcError, match="restricted"):
                list(open_and_silent)
            answered = outcome_on(way, channel, private.metadata, prompt="a", caller="{}")
            assert "restricted" not in answered.words, "the test means something"
        assert outcome(channel, "ServerLive", b"", metadata=private.metadata)[0] == "OK", "the test means something"


@pytest.mark.parametrize("way", [*TO_PICTURES, *TO_THE_LIST, Way("text_encoder"), *STREAMS_BEHIND[-1:]], ids=str)
def test_even_with_the_secret_nobody_forges_a_caller(server: Served, way: Way) -> None:
    private = server.private()
    asked = {"pattern": "*"} if way.model == "vico_concepts" else {"prompt": "a", "steps": 1}
    with grpc.insecure_channel(private.address) as channel:
        for caller in [*forged(server, NAMED), None]:
            fields = asked if caller is None else asked | {"caller": caller}
            refused = outcome_on(way, channel, private.metadata, **fields)
            assert refused.status in ({"INVALID_ARGUMENT"} if way.method == "ModelInfer" else {""})
            assert "caller: not sealed by the server" in refused.words
            assert not refused.tensors
        sealed = server.seal().of("caller").close(NAMED)
        accepted = outcome_on(way, channel, private.metadata, **asked | {"caller": sealed})
        assert (accepted.status, bool(accepted.tensors)) == ("OK", True), "the test means something"


def forged(server: Served, text: str) -> list[bytes]:
    """Under a seal of another purpose, of another server, cut, and under none."""
    sealed = server.seal().of("another").close(text)
    return [sealed, Seal("guess").of("caller").close(text), sealed[64:], sealed[:64], text.encode(), b"{}", b""]


@pytest.mark.parametrize(
    ("stage", "sealed"),
    [("image_encoder", "request"), ("unet_loop", "request"), ("unet_loop", CONTROL), ("vae_decoder", "request"),
     ("picture_stream", "request")],
)  # fmt: skip
def test_even_with_the_secret_nobody_forges_what_stages_hand_on(server: Served, stage: str, sealed: str) -> None:
    private = server.private()
    way = Way(stage, STREAMING if stage == "picture_stream" else "ModelInfer")
    with grpc.insecure_channel(private.address) as channel:
        ask = channel.unary_unary(SERVICE + "ModelMetadata")
        question = pb.ModelMetadataRequest(name=stage).SerializeToString()
        described = pb.ModelMetadataResponse.FromString(ask(question, timeout=60, metadata=private.metadata))
        for content in forged(server, '{"all": "cancelled"}'):
            refused = outcome_of(filled(described, sealed, content), way, channel, private.metadata)
            assert f"{sealed}: not sealed by the server" in refused.words, refused
            assert not refused.tensors


def filled(described: Any, sealed: str, content: bytes) -> bytes:
    """A request in the form that a stage wants, with zeros in all inputs but one."""
    request = pb.ModelInferRequest(model_name=described.name)
    for tensor in described.inputs:
        if (tensor.name == CONTROL) != (sealed == CONTROL):
            continue
        shape = [max(1, size) for size in tensor.shape]
        value = content if tensor.name == sealed else b""
        size = TensorSpec(tensor.datatype, ()).item_bytes * math.prod(shape)
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        request.raw_input_contents.append(bytes(size) or len(value).to_bytes(4, "little") + value)
    message: bytes = request.SerializeToString()
    return message


OTHER_MODELS = [
    "text_encoder", "image_encoder", "unet_loop", "vae_decoder", "vico/1", "vico:1", "vico ", "Vico", "vico\0",
    "%76ico", "../vico", "vico_stream/", "nothing", "",
]  # fmt: skip


@pytest.mark.parametrize("model", OTHER_MODELS)
def test_no_other_model_by_any_name(call: Caller, ask: Any, model: str) -> None:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name=CONTROL, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(b"\x02\0\0\0{}")
    assert ask("ModelInfer", request)[0] == "PERMISSION_DENIED"
    assert ask("ModelReady", pb.ModelReadyRequest(name=model))[0] == "PERMISSION_DENIED"
    assert ask("ModelMetadata", pb.ModelMetadataRequest(name=model))[0] == "PERMISSION_DENIED"
    assert ask("ModelConfig", pb.ModelConfigRequest(name=model))[0] == "PERMISSION_DENIED"


def test_the_config_tells_of_no_stage(server: Served) -> None:
    with grpc.insecure_channel(server.address) as channel:
        asked = pb.ModelConfigRequest(name="vico").SerializeToString()
        answer = channel.unary_unary(SERVICE + "ModelConfig")(asked, timeout=60)
    config = pb.ModelConfigResponse.FromString(answer).config
    assert {tensor.name for tensor in config.output} == {"images", "info"}
    assert "caller" not in {tensor.name for tensor in config.input}
    assert not LEAKS.search(str(config))


def test_internal_inputs_and_shared_memory_are_refused(call: Caller, ask: Any, server: Served) -> None:
    refusal = call.send("vico", {"prompt": np.array([b"a"], object), "caller": np.array([b"x"], object)})
    assert isinstance(refusal, Refusal)
    assert "unexpected inference input 'caller'" in refusal.message
    regions = [path.name for path in server.regions()]
    assert regions, "the test means something"
    for key in (*regions, "x"):
        request = pb.ModelInferRequest(model_name="vico")
        tensor = request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
        tensor.parameters["shared_memory_region"].string_param = key
        tensor.parameters["shared_memory_byte_size"].int64_param = 64
        status, words = ask("ModelInfer", request)
        assert (status, words) == (
            "INVALID_ARGUMENT", "prompt: parameters; accepted: the value itself: shared memory is closed"
        )  # fmt: skip


def test_an_oversized_request_leaks_no_name(ask: Any) -> None:
    """CVE-2025-23319 and its kin: the name of the backend's shared memory came in the words of the refusal."""
    request = pb.ModelInferRequest(model_name="vico")
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
    for size in (2**17, 2**22, 2**23 + 2**20, 2**25):
        del request.raw_input_contents[:]
        request.raw_input_contents.append(size.to_bytes(4, "little") + bytes(size))
        status, words = ask("ModelInfer", request)
        assert status in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
        assert not LEAKS.search(words), words


def test_there_is_no_http(server: Served) -> None:
    for request in (b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v2/models/vico/infer HTTP/1.1\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" * 5000):  # fmt: skip
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(request)
            assert b"HTTP/1.1 200" not in connection.recv(4096)
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    listening = [line.split()[1] for table in tables for line in table.splitlines() if " 0A " in line]
    command = next(line for line in server.processes().values() if "/bin/tritonserver" in line)
    ports = set(re.findall(r"--\w+-port=(\d+)", command)) - {"1"}
    assert len(ports) == 1, "metrics alone"
    assert all(address.split(":")[0].endswith("0100007F") for address in listening
               if int(address.split(":")[1], 16) in map(int, ports))  # fmt: skip


def test_our_own_faults_tell_a_request_id_only(server: Served) -> None:
    """The decoder trusts that reports are JSON; only who knows the secret can make it fail."""
    seal = server.seal()
    sealed = seal.close('{"prompt": 1}')
    request = pb.ModelInferRequest(model_name="vae_decoder", id="quote-me")
    reports = {f"{stage}_report": b"{" for stage in ("text_encoder", "image_encoder", "unet_loop")}
    for name, value in ({"request": sealed} | reports).items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(value).to_bytes(4, "little") + value)
    request.inputs.add(name="latent", datatype="FP32", shape=[1, 4, 16, 16])
    request.raw_input_contents.append(bytes(4 * 4 * 16 * 16))
    private = server.private()
    with grpc.insecure_channel(private.address) as channel:
        status, words = outcome(channel, "ModelInfer", request, metadata=private.metadata)
    assert status == "INTERNAL"
    assert "'quote-me'" in words
    assert not LEAKS.search(words)
    assert wait_until(lambda: all(word in server.log() for word in ("quote-me", "Traceback")))


def test_the_secrets_are_in_no_other_processs_sight(server: Served) -> None:
    """The front door and the supervisor get theirs by pipe: no command line but Triton's own holds the secret."""
    private, seal = server.private(), server.seal()
    for pid in (server.pid, server.front()):
        line = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        assert private.secret not in line
        assert seal.secret not in line
    assert private.secret not in server.log()
    assert seal.secret not in server.log()


GOOD = pb.ModelInferRequest(model_name="vico", id="fuzz")
for _name, _value in (("prompt", b"a"), ("output_format", b"raw")):
    GOOD.inputs.add(name=_name, datatype="BYTES", shape=[1])
    GOOD.raw_input_contents.append(len(_value).to_bytes(4, "little") + _value)
GOOD.inputs.add(name="steps", datatype="INT32", shape=[1])
GOOD.raw_input_contents.append((1).to_bytes(4, "little"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good request with some bytes changed, removed or added."""
    message = bytearray(GOOD.SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(message) - 1))
        if draw(st.booleans()):
            message[place] = draw(st.integers(0, 255))
        else:
            message[place : place + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(message)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_requests_end_in_an_answer_or_a_clean_refusal(ask: Any, count: int) -> None:
    seen: dict[str, int] = {}

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def one(message: bytes) -> None:
        status, words = ask("ModelInfer", message)
        seen[status] = seen.get(status, 0) + 1
        assert status in {"OK", "INVALID_ARGUMENT", "PERMISSION_DENIED", "NOT_FOUND"}, (status, words)
        assert not LEAKS.search(words), words
        assert "\n" not in words

    one()
    print(seen)
    assert sum(seen.values()) >= count
    assert "OK" in seen, "some are still good"


@pytest.mark.parametrize(
    "options",
    [["--host", "0.0.0.0"], ["--tls-cert", "x"], ["--keys", "nowhere.json"], ["--require-signature", "nowhere.pem"]],
    ids=str,
)
def test_an_unsafe_start_is_refused_at_once(exported: Any, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    process = spawn(exported.folder, tmp_path / "registry", tmp_path / "log", *options)
    assert process.wait(240) == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert re.fullmatch(r"error (host|tls_cert|keys|require-signature): .*; accepted: .*", last)


def test_the_answer_is_still_one(call: Caller) -> None:
    assert isinstance(call.ask(prompt="a", steps=1), Answer)
