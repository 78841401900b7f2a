"""A stranger's `ModelInferRequest` → a clean one: only what is known is carried over, all of it checked."""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from serving.caller import TENSOR
from serving.front.refusal import Refused, invalid
from serving.front.wire import ModelSpec, TensorSpec
from serving.request import MAX_REFERENCE_BYTES
from serving.stages.names import NESTED
from serving.telemetry.traces import TRACEPARENT

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
MAX_TIMEOUT_MICROSECONDS = 24 * 3600 * 1_000_000
MAX_TEXT_BYTES = 64 * 2**10
"""Of one BYTES value that is not a photo; the first stage knows each field's own limit."""
MAX_ELEMENTS = 16

_INPUT_NAMES = "the inputs that the model's metadata names"
_EMPTY_FINAL = "triton_enable_empty_final_response"
_PACKED = {"INT32": ("int_contents", "i"), "INT64": ("int64_contents", "q"), "FP32": ("fp32_contents", "f")}


def parse(message: bytes, models: Mapping[str, ModelSpec]) -> Any:
    """The message as protobuf, of a public model.

    Raises:
        Refused: not a `ModelInferRequest`, or of a model that clients may not call.
    """
    try:
        request = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        raise invalid("request", "not a ModelInferRequest", "Triton's protocol, version 2") from None
    require_public(request.model_name, request.model_version, models)
    return request


def require_public(name: str, version: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The model, if clients may call it.

    Raises:
        Refused: they may not; nobody learns whether it exists.
    """
    if name not in models:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "model", "not served here", ", ".join(sorted(models)))
    if version not in ("", "1"):
        raise invalid("model_version", "unknown", "none, or 1")
    return models[name]


def clean(
    request: Any,
    spec: ModelSpec,
    sealed_caller: bytes,
    timeout_microseconds: int,
    traceparent: str = "",
    *,
    streamed: bool = False,
) -> Any:
    """The `ModelInferRequest` for Triton: known inputs and outputs, a valid id, deadline, sealed caller, nothing else.

    Args:
        request: a parsed `ModelInferRequest`.
        spec: of the model that it names.
        sealed_caller: of `serving.caller`.
        timeout_microseconds: left of the gRPC deadline; 0 = none.
        traceparent: of the front door's own span; "" = there is none.
        streamed: it came in a stream, where Triton loses an error's status.

    Raises:
        Refused: names the field, what is wrong with it, and what is accepted.
    """
    fresh = pb.ModelInferRequest(model_name=request.model_name, id=request_id(request.id))
    _copy_parameters(request, fresh, timeout_microseconds)
    if traceparent:
        fresh.parameters[TRACEPARENT].string_param = traceparent
    if streamed:
        fresh.parameters[NESTED].bool_param = True
    _copy_inputs(request, fresh, spec)
    for output in request.outputs:
        if output.name not in spec.outputs:
            raise invalid("outputs", "an unknown name", ", ".join(sorted(spec.outputs)))
        if output.parameters:
            raise invalid("outputs", "parameters", "none: shared memory and classification are closed")
        fresh.outputs.add(name=output.name)
    fresh.inputs.add(name=TENSOR, datatype="BYTES", shape=[1])
    fresh.raw_input_contents.append(_with_length(sealed_caller))
    return fresh


def request_id(given: str) -> str:
    """The client's id if it is fit for logs, else one of our making."""
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _copy_parameters(request: Any, fresh: Any, timeout_microseconds: int) -> None:
    known = {"timeout": "int64_param", _EMPTY_FINAL: "bool_param"}
    for name, value in request.parameters.items():
        if name not in known:
            raise invalid("parameters", "an unknown name", "timeout")
        if value.WhichOneof("parameter_choice") != known[name]:
            raise invalid("timeout" if name == "timeout" else "parameters", "not of its type", "a whole number")
    given = request.parameters["timeout"].int64_param if "timeout" in request.parameters else 0
    if not 0 <= given <= MAX_TIMEOUT_MICROSECONDS:
        raise invalid("timeout", f"{given}", f"microseconds, from 0 (none) to {MAX_TIMEOUT_MICROSECONDS}")
    limits = [limit for limit in (given, timeout_microseconds) if limit]
    if limits:
        fresh.parameters["timeout"].int64_param = min(limits)
    if _EMPTY_FINAL in request.parameters:
        fresh.parameters[_EMPTY_FINAL].bool_param = request.parameters[_EMPTY_FINAL].bool_param


def _copy_inputs(request: Any, fresh: Any, spec: ModelSpec) -> None:
    raw = request.raw_input_contents
    if len(request.inputs) > len(spec.inputs):
        raise invalid("inputs", f"{len(request.inputs)} of them", f"at most {len(spec.inputs)}")
    if raw and len(raw) != len(request.inputs):
        raise invalid("inputs", f"{len(request.inputs)} of them, with the contents of {len(raw)}", "one each")
    seen: set[str] = set()
    for i, tensor in enumerate(request.inputs):
        known = spec.inputs.get(tensor.name)
        if known is None:
            raise invalid("inputs", "unexpected inference input " + _shown(tensor.name), _INPUT_NAMES)
        if tensor.name in seen:
            raise invalid(tensor.name, "given twice", "once, or not at all")
        seen.add(tensor.name)
        if tensor.parameters:
            raise invalid(tensor.name, "parameters", "the value itself: shared memory is closed")
        _check_form(tensor, known)
        if raw and tensor.HasField("contents"):
            raise invalid(tensor.name, "given both raw and as contents", "one of them")
        content = raw[i] if raw else _packed(tensor, known)
        _check_content(tensor.name, content, known, list(tensor.shape))
        fresh.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        fresh.raw_input_contents.append(content)


def _check_form(tensor: Any, known: TensorSpec) -> None:
    accepted = f"{known.datatype} of shape {[n if n > 0 else 'n' for n in known.shape]}"
    if tensor.datatype != known.datatype:
        raise invalid(tensor.name, "data-type is " + _shown(tensor.datatype), accepted)
    shape = list(tensor.shape)
    fits = len(shape) == len(known.shape) and all(
        n == want or (want < 0 and 0 <= n <= MAX_ELEMENTS) for n, want in zip(shape, known.shape, strict=True)
    )
    if not fits:
        raise invalid(tensor.name, f"shape {shape[:8]}", accepted)


def _check_content(name: str, content: bytes, known: TensorSpec, shape: list[int]) -> None:
    count = 1
    for size in shape:
        count *= size
    if known.item_bytes:
        if len(content) != count * known.item_bytes:
            raise invalid(name, f"{len(content)} bytes of content", f"{count * known.item_bytes} bytes")
        return
    limit = MAX_REFERENCE_BYTES if name == "reference_image" else MAX_TEXT_BYTES
    offset = 0
    for _ in range(count):
        size = int.from_bytes(content[offset : offset + 4], "little")
        if size > limit:
            raise invalid(name, f"{size} bytes", f"at most {limit} bytes")
        offset += 4 + size
    if offset != len(content):
        raise invalid(name, "content that does not fit its lengths", "for each value four bytes of length, and it")


def _packed(tensor: Any, known: TensorSpec) -> bytes:
    """Typed contents in the raw form."""
    if known.datatype == "BYTES":
        return b"".join(_with_length(value) for value in tensor.contents.bytes_contents)
    field, kind = _PACKED.get(known.datatype, ("", ""))
    if not field:
        raise invalid(tensor.name, "given as contents", "raw contents")
    values = getattr(tensor.contents, field)
    return struct.pack(f"<{len(values)}{kind}", *values)


def _with_length(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def _shown(text: str) -> str:
    """A stranger's word in a message."""
    return repr(text[:40])
