"""What the client puts on the wire, held field by field to docs/architecture.md."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pytest
from fake_vico_server import FakeServer, contract_inputs
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferenceServerClient, InferInput, service_pb2
from tritonclient.utils import InferenceServerException
from vico_client import Client, GenerateOptions, GenerateRequest, InvalidRequest
from vico_client.encode import tensors
from vico_client.wire import request_message

PHOTO = b"\x89PNG\r\n not looked at by the client"
EVERY_FIELD: dict[str, Any] = {
    "concept": "my-toy@" + "ab" * 32,
    "negative_prompt": "",
    "seed": 2**63 - 1,
    "preset": "fast",
    "steps": 12,
    "sampler": "ddim",
    "guidance_scale": 4.5,
    "image_guidance": 0.25,
    "height": 32,
    "width": 40,
    "num_images": 2,
    "priority": 9,
    "output_format": "png",
    "reference_image": PHOTO,
}


def test_the_request_has_exactly_the_contracts_fields_and_datatypes() -> None:
    declared = {spec.name: spec.metadata["datatype"] for spec in dataclasses.fields(GenerateRequest) if spec.metadata}
    assert declared == contract_inputs()
    assert len(declared) == 15


def test_the_keywords_of_generate_are_the_fields_of_the_request() -> None:
    fields = {spec.name for spec in dataclasses.fields(GenerateRequest)}
    assert set(GenerateOptions.__annotations__) == fields - {"prompt"}
    assert set(inspect.signature(Client.generate).parameters) == {"self", "prompt", "timeout", "options"}


def test_every_field_arrives_as_it_was_given(client: Client, server: FakeServer) -> None:
    client.generate("a photo of *", **EVERY_FIELD)
    sent = {name: value.encode() if isinstance(value, str) else value for name, value in EVERY_FIELD.items()}
    assert server.calls[0].fields == {"prompt": b"a photo of *", **sent}


def test_what_is_not_given_is_not_sent(client: Client, server: FakeServer) -> None:
    client.generate("a photo of a toy")
    fields = server.calls[0].fields
    assert fields == {"prompt": b"a photo of a toy", "seed": fields["seed"]}


def test_a_request_without_a_seed_draws_one_and_keeps_it(client: Client, server: FakeServer) -> None:
    requests = [GenerateRequest("a toy") for _ in range(8)]
    assert len({request.seed for request in requests}) == 8
    for _ in range(2):
        assert client.send(requests[0]).info.seed == requests[0].seed
    assert client.generate_result("a toy", seed=0).info.seed == 0


def test_an_unknown_keyword_is_a_type_error(client: Client, server: FakeServer) -> None:
    with pytest.raises(TypeError, match="guidance"):
        client.generate("a toy", guidance=3)  # type: ignore[call-arg]
    assert not server.calls


@pytest.mark.parametrize(
    "prompt", ["une photo de * à la plage", "海辺の*の写真", "🧸 * 👩‍👩‍👧", "ع *", "nul\0 *", "\u2028*"]
)
def test_unicode_prompts_arrive_as_utf8(client: Client, server: FakeServer, prompt: str) -> None:
    client.generate(prompt, negative_prompt=prompt)
    assert server.calls[0].fields["prompt"].decode("utf-8") == prompt
    assert server.calls[0].fields["negative_prompt"].decode("utf-8") == prompt


def test_request_id_and_timeout_travel(client: Client, server: FakeServer) -> None:
    client.generate("a toy", request_id="order-66", timeout=30)
    call = server.calls[0]
    assert call.request_id == "order-66"
    assert 25_000_000 < call.timeout_microseconds <= 30_000_000
    # gRPC rounds what is left up to its own tick
    assert 25 < call.seconds_left < 31


def test_each_request_has_an_id_of_its_own_and_the_clients_timeout(client: Client, server: FakeServer) -> None:
    client.generate("a toy")
    client.generate("a toy")
    first, second = server.calls
    assert first.request_id != second.request_id
    assert len(first.request_id) == 32
    assert 8_000_000 < first.timeout_microseconds <= 10_000_000


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("prompt", None, "str"),
        ("prompt", b"bytes", "str"),
        ("prompt", "half \ud800", "UTF-8"),
        ("concept", 7, "str"),
        ("steps", 2.5, "int"),
        ("steps", "25", "int"),
        ("steps", True, "int"),
        ("steps", 10**12, "int"),
        ("seed", 2**63, "int"),
        ("seed", np.uint64(2**63), "int"),
        ("guidance_scale", math.nan, "finite"),
        ("guidance_scale", -math.inf, "finite"),
        ("guidance_scale", 1e300, "finite"),
        ("guidance_scale", 10**400, "finite"),
        ("guidance_scale", "7.5", "finite"),
        ("image_guidance", False, "finite"),
        ("image_guidance", [1.0], "finite"),
    ],
)
def test_what_no_tensor_can_hold_is_refused_before_it_is_sent(
    client: Client, server: FakeServer, field: str, value: Any, hint: str
) -> None:
    fields = {"prompt": "a toy", field: value}
    with pytest.raises(InvalidRequest) as caught:
        client.generate(**fields)
    assert caught.value.field == field
    assert hint in str(caught.value.hint)
    assert caught.value.status is None
    assert not server.calls


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("steps", 10_000), ("seed", -1), ("guidance_scale", 0.1)])
def test_limits_are_left_to_the_server(client: Client, server: FakeServer, field: str, value: float) -> None:
    client.generate(**{"prompt": "", field: value})  # type: ignore[arg-type]
    assert server.calls[0].fields[field] == pytest.approx(value)


def test_numpy_numbers_are_numbers(client: Client, server: FakeServer) -> None:
    client.generate("a toy", steps=np.int64(9), seed=np.uint8(3), guidance_scale=np.float32(2.5), image_guidance=1)  # type: ignore[arg-type]
    assert server.calls[0].fields == {
        "prompt": b"a toy",
        "steps": 9,
        "seed": 3,
        "guidance_scale": 2.5,
        "image_guidance": 1.0,
    }


@pytest.mark.parametrize(
    ("name", "datatype", "values"), [("steps", "INT64", [3]), ("steps", "INT32", [3, 4]), ("step", "INT32", [3])]
)
def test_the_fake_server_refuses_what_breaks_the_contract(
    server: FakeServer, name: str, datatype: str, values: list[int]
) -> None:
    tensor = InferInput(name, [len(values)], datatype)
    tensor.set_data_from_numpy(np.array(values, dtype=datatype.lower()))
    with pytest.raises(InferenceServerException, match="contract broken"):
        InferenceServerClient(server.address).infer("vico", [tensor])
    assert not server.calls


@given(
    prompt=st.text(),
    concept=st.none() | st.text(),
    seed=st.integers(-(2**63), 2**63 - 1),
    steps=st.none() | st.integers(-(2**31), 2**31 - 1),
    guidance_scale=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    reference_image=st.none() | st.binary(),
)
def test_any_request_round_trips_through_its_tensors(prompt: str, **options: Any) -> None:
    request = GenerateRequest(prompt, **options)
    message = service_pb2.ModelInferRequest.FromString(request_message(tensors(request), request.request_id, 1.0))
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    decoded = {tensor.name: _decoded(tensor, raw) for tensor, raw in pairs}
    assert decoded == {"prompt": prompt, **{name: value for name, value in options.items() if value is not None}}


def _decoded(tensor: Any, raw: bytes) -> Any:
    assert list(tensor.shape) == [1]
    if tensor.datatype != "BYTES":
        dtype = {"INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}[tensor.datatype]
        return np.frombuffer(raw, dtype).item()
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    return raw[4:] if tensor.name == "reference_image" else raw[4:].decode("utf-8")
