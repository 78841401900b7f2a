"""A KServe-v2 gRPC server in this process that holds a client to the wire contract and answers what a test wants."""

from __future__ import annotations

import io
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"
DIGEST = "0123456789abcdef" * 4
RGB = (200, 30, 90)
_OUTPUTS = {"vico": ["images", "info"], "vico_stream": ["event", "preview", "images", "info"]}
_STRUCTS = {"INT32": "<i", "INT64": "<q", "FP32": "<f"}


def contract_inputs() -> dict[str, str]:
    """Name → datatype of every input of the ensemble, read from the table in docs/architecture.md."""
    wire = ARCHITECTURE.read_text(encoding="utf-8").partition("## The wire")[2].partition("| output |")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| (BYTES|INT32|INT64|FP32) \|", wire, re.MULTILINE)
    return {name: datatype for names, datatype in rows for name in re.findall(r"`(\w+)`", names)}


@dataclass(frozen=True)
class Call:
    """One request as it arrived: the fields sent, decoded, and what came around them."""

    fields: dict[str, Any]
    request_id: str
    timeout_microseconds: int
    seconds_left: float
    metadata: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - as in `server.refuse`
    """Ends a call with this gRPC status and these details."""

    def __init__(self, status: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.details = details


Answer = Callable[[Call], Any]


def bytes_tensor(elements: Sequence[bytes]) -> bytes:
    """A BYTES tensor: each element behind its little-endian uint32 length."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def response(images: Sequence[bytes], info: bytes, images_name: str = "images") -> Any:
    """A ModelInferResponse with the ensemble's two outputs."""
    message = service_pb2.ModelInferResponse(model_name="vico", model_version="1")
    for name, elements in ((images_name, images), ("info", [info])):
        message.outputs.add(name=name, datatype="BYTES", shape=[len(elements)])
        message.raw_output_contents.append(bytes_tensor(elements))
    return message


def stream_response(event: dict[str, Any], preview: bytes = b"", images: bytes = b"", info: bytes = b"") -> Any:
    """A ModelStreamInferResponse, the contents of its outputs as BYTES tensors."""
    message = service_pb2.ModelStreamInferResponse()
    contents = {"event": bytes_tensor([json.dumps(event).encode()]), "preview": preview, "images": images, "info": info}
    for name, content in contents.items():
        message.infer_response.outputs.add(name=name, datatype="BYTES", shape=[int(bool(content))])
        message.infer_response.raw_output_contents.append(content)
    return message


def info_of(fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The info a server gives for a request, its defaults filled in."""
    concept = fields.get("concept", b"").decode()
    told = {
        "seed": fields.get("seed", 0),
        "steps": fields.get("steps", 25),
        "sampler": fields.get("sampler", b"dpmpp_2m").decode(),
        "height": fields.get("height", 0) or 24,
        "width": fields.get("width", 0) or 16,
        "concept": f"{concept.partition('@')[0]}@{DIGEST}" if concept else "",
        "warnings": [],
        "timings": {"text_encoder": 0.01, "unet_loop": 1.5},
    }
    return {**told, **changes}


def picture(output_format: str, width: int, height: int) -> bytes:
    """A plain picture of colour RGB as the server would send it."""
    image = Image.new("RGB", (width, height), RGB)
    if output_format == "raw":
        return image.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, format=output_format)
    return buffer.getvalue()


def pictures(call: Call, **changes: Any) -> Any:
    """The ordinary answer: as many pictures as asked for, of the size and format asked for."""
    info = info_of(call.fields, **changes)
    output_format = call.fields.get("output_format", b"png").decode()
    file = picture(output_format, info["width"], info["height"])
    return response([file] * call.fields.get("num_images", 1), json.dumps(info).encode())


@dataclass
class FakeServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers with `answer`; remembers every call; refuses whatever breaks the contract."""

    address: str = ""
    answer: Answer = pictures
    ready: bool = True
    concepts: bytes = b'{"concepts": [], "more": false}'
    patterns: list[bytes] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    """What each call showed as `authorization`."""
    entered: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.keys.append(dict(context.invocation_metadata()).get("authorization"))
        if request.model_name == "vico_concepts":
            return self._concepts(request)
        call = Call(
            _checked_fields(request, context),
            request.id,
            request.parameters["timeout"].int64_param,
            context.time_remaining(),
            dict(context.invocation_metadata()),
        )
        answered = threading.Event()
        context.add_callback(lambda: None if answered.is_set() else self.cancelled.set())
        self.calls.append(call)
        self.entered.set()
        try:
            return self.answer(call)
        except Refusal as refusal:
            context.abort(refusal.status, refusal.details)
        finally:
            answered.set()

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """One report of progress, then what `answer` says, as a stream. Refusals are `test_client_stream`'s."""
        whole = self.ModelInfer(next(requests), context)
        images, info = whole.raw_output_contents
        done = {"type": "progress", "step": 1, "steps": 2, "done": [1], "seconds_left": 0.5}
        yield stream_response(done, preview=bytes_tensor([picture("jpeg", 64, 64)]))
        yield stream_response({"type": "image", "index": 0, "images": 1, "height": 24, "width": 16}, images=images)
        yield stream_response({"type": "end"}, info=info)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.keys.append(dict(context.invocation_metadata()).get("authorization"))
        return service_pb2.ModelReadyResponse(ready=self.ready and request.name == "vico")

    def _concepts(self, request: Any) -> Any:
        assert [(item.name, item.datatype, list(item.shape)) for item in request.inputs] == [("pattern", "BYTES", [1])]
        self.patterns.append(_scalar("BYTES", request.raw_input_contents[0]))
        message = service_pb2.ModelInferResponse(model_name="vico_concepts", model_version="1")
        message.outputs.add(name="concepts", datatype="BYTES", shape=[1])
        message.raw_output_contents.append(bytes_tensor([self.concepts]))
        return message

    def refuse(self, status: grpc.StatusCode, details: str) -> None:
        """Answer every further call with an error."""

        def answer(_: Call) -> NoReturn:
            raise Refusal(status, details)

        self.answer = answer


def _checked_fields(request: Any, context: Any) -> dict[str, Any]:
    """The inputs, decoded, after a look at everything the contract says about them."""
    contract = contract_inputs() | ({"progress_every": "INT32"} if request.model_name == "vico_stream" else {})
    problems = [] if request.model_name in _OUTPUTS else [f"model {request.model_name}"]
    if len(request.inputs) != len(request.raw_input_contents):
        problems.append("inputs and raw contents differ in number")
    for tensor in request.inputs:
        if contract.get(tensor.name) != tensor.datatype or list(tensor.shape) != [1]:
            problems.append(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}")
    if [output.name for output in request.outputs] != _OUTPUTS.get(request.model_name):
        problems.append("outputs")
    if problems:
        context.abort(grpc.StatusCode.DATA_LOSS, f"contract broken: {problems}")
    pairs = zip(request.inputs, request.raw_input_contents, strict=True)
    return {tensor.name: _scalar(tensor.datatype, raw) for tensor, raw in pairs}


def _scalar(datatype: str, raw: bytes) -> Any:
    if datatype != "BYTES":
        return struct.unpack(_STRUCTS[datatype], raw)[0]
    (length,) = struct.unpack_from("<I", raw)
    assert length == len(raw) - 4
    return raw[4:]


@contextmanager
def running(credentials: grpc.ServerCredentials | None = None) -> Iterator[tuple[FakeServer, grpc.Server]]:
    """A fake server on a free port of this machine; with TLS when credentials are given."""
    fake = FakeServer()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    fake.address = f"localhost:{port}"
    server.start()
    try:
        yield fake, server
    finally:
        server.stop(grace=None).wait()
