"""What is left of a stranger's request when it has been checked."""

from __future__ import annotations

import asyncio
import re
import struct
from typing import Any

import pytest
from fake_triton import INPUTS, request_of, text
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from serving.caller import Caller
from serving.foresight.asking import Foresight
from serving.foresight.question import Question, Reading
from serving.front.check import MAX_TIMEOUT_MICROSECONDS, clean, parse, request_id
from serving.front.in_time import fields_of_time, reading_of, require_time
from serving.front.refusal import Refused
from serving.front.wire import PUBLIC_MODELS, STREAM_MODEL, ModelSpec, TensorSpec, model_spec

SPEC = ModelSpec(
    {name: TensorSpec(datatype, (1,)) for name, datatype in INPUTS.items() if name != "caller"},
    frozenset({"images", "info"}),
    b"",
    b"",
)
MODELS = {"vico": SPEC}
GOOD = {"prompt": text(b"a dog"), "steps": struct.pack("<i", 3)}


def cleaned(request: Any, timeout: int = 0) -> Any:
    parsed = parse(request.SerializeToString(), MODELS)
    return clean(parsed, SPEC, b"sealed", timeout)


def refused(request: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        cleaned(request)
    return caught.value


def test_a_good_request_is_carried_over_and_sealed() -> None:
    request = request_of(**GOOD)
    request.outputs.add(name="images")
    fresh = cleaned(request)
    assert [tensor.name for tensor in fresh.inputs] == ["prompt", "steps", "caller"]
    assert list(fresh.raw_input_contents) == [*GOOD.values(), text(b"sealed")]
    assert fresh.id == "given-id"
    assert [output.name for output in fresh.outputs] == ["images"]
    assert not fresh.parameters


def test_typed_contents_are_the_same_request() -> None:
    request = pb.ModelInferRequest(model_name="vico", id="given-id")
    tensor = request.inputs.add(name="prompt", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"a dog")
    tensor = request.inputs.add(name="steps", datatype="INT32", shape=[1])
    tensor.contents.int_contents.append(3)
    assert cleaned(request) == cleaned(request_of(**GOOD))


@pytest.mark.parametrize(
    ("given", "left", "expected"), [(0, 0, None), (5, 0, 5), (0, 7, 7), (5, 7, 5), (9, 7, 7)]
)  # fmt: skip
def test_the_nearer_deadline_counts(given: int, left: int, expected: int | None) -> None:
    request = request_of(**GOOD)
    if given:
        request.parameters["timeout"].int64_param = given
    fresh = cleaned(request, left)
    assert (fresh.parameters["timeout"].int64_param if expected else None) == expected


def _set(message: Any, name: str, value: Any) -> None:
    setattr(message, name, value)


def _shared_memory(tensor: Any) -> None:
    tensor.parameters["shared_memory_region"].string_param = "triton_python_backend_shm_region_1"
    tensor.parameters["shared_memory_byte_size"].int64_param = 64


BAD: dict[str, tuple[Any, str]] = {
    "another model": (lambda r: _set(r, "model_name", "unet_loop"), "model: not served here; accepted: vico"),
    "model with a version": (lambda r: _set(r, "model_name", "vico/1"), "model: not served here"),
    "model with a path": (lambda r: _set(r, "model_name", "../unet_loop"), "model: not served here"),
    "model with a null": (lambda r: _set(r, "model_name", "vico\0"), "model: not served here"),
    "percent-encoded model": (lambda r: _set(r, "model_name", "%76ico"), "model: not served here"),
    "no model": (lambda r: _set(r, "model_name", ""), "model: not served here"),
    "version": (lambda r: _set(r, "model_version", "2"), "model_version: unknown; accepted: none, or 1"),
    "caller": (lambda r: r.inputs.add(name="caller", datatype="BYTES", shape=[1]), "inputs: 3 of them, with"),
    "own seal": (lambda r: _set(r.inputs[0], "name", "caller"), "inputs: unexpected inference input 'caller'"),
    "shared memory in": (lambda r: _shared_memory(r.inputs[0]), "prompt: parameters; accepted: the value itself"),
    "shared memory out": (lambda r: _shared_memory(r.outputs.add(name="images")), "outputs: parameters"),
    "unknown output": (lambda r: r.outputs.add(name="latent"), "outputs: an unknown name; accepted: images, info"),
    "internal parameter": (lambda r: _set(r.parameters["sequence_id"], "int64_param", 1), "parameters: an unknown"),
    "timeout as text": (lambda r: _set(r.parameters["timeout"], "string_param", "1"), "timeout: not of its type"),
    "negative timeout": (lambda r: _set(r.parameters["timeout"], "int64_param", -1), "timeout: -1"),
    "endless timeout": (lambda r: _set(r.parameters["timeout"], "int64_param", 2**62), f"{MAX_TIMEOUT_MICROSECONDS}"),
    "data type": (lambda r: _set(r.inputs[1], "datatype", "INT64"), "steps: data-type is 'INT64'; accepted: INT32"),
    "shape": (lambda r: r.inputs[1].shape.append(1), "steps: shape [1, 1]; accepted: INT32 of shape [1]"),
    "huge shape": (lambda r: r.inputs[1].shape.__setitem__(0, 2**62), "steps: shape [4611686018427387904]"),
    "negative shape": (lambda r: r.inputs[1].shape.__setitem__(0, -1), "steps: shape [-1]"),
    "short content": (lambda r: r.raw_input_contents.__setitem__(1, b"123"), "steps: 3 bytes of content; accepted: 4"),
    "length that lies": (lambda r: r.raw_input_contents.__setitem__(0, b"\xff\0\0\0a"), "prompt: content that does"),
    "length that overflows": (lambda r: r.raw_input_contents.__setitem__(0, b"\xff\xff\xff\xff"), "prompt: 4294967295"),
    "long text": (lambda r: r.raw_input_contents.__setitem__(0, text(b"a" * 70_000)), "prompt: 70000 bytes; accepted"),
    "missing content": (lambda r: r.raw_input_contents.pop(), "inputs: 2 of them, with the contents of 1"),
    "raw and typed": (lambda r: r.inputs[0].contents.bytes_contents.append(b"x"), "prompt: given both raw and as"),
    "twice": (lambda r: r.inputs.__getitem__(1).CopyFrom(r.inputs[0]), "prompt: given twice; accepted: once"),
    "too many": (lambda r: [r.inputs.add(name=f"x{k}") for k in range(99)], "inputs: 101 of them; accepted: at most 6"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    change, message = BAD[case]
    request = request_of(**GOOD)
    change(request)
    line = refused(request).line
    assert message in line
    assert re.fullmatch(r"[a-z_]+: [^\n]*; accepted: [^\n]*", line)


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xff"])
def test_what_is_no_request(message: bytes) -> None:
    with pytest.raises(Refused, match="request: not a ModelInferRequest"):
        parse(message, MODELS)


@given(st.text(max_size=80))
def test_ids_are_fit_for_logs(given_id: str) -> None:
    made = request_id(given_id)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", made)
    assert made == given_id or len(made) == 32


@pytest.mark.parametrize("bad", ["", "../../x", "a\nb", "a b", "x" * 65, "-x", "é", "%2e"])
def test_an_unfit_id_is_replaced(bad: str) -> None:
    assert request_id(bad) != bad


def test_clients_do_not_see_what_only_the_door_sends() -> None:
    answer = pb.ModelMetadataResponse(name="vico")
    for name in ("caller", "prompt"):
        answer.inputs.add(name=name, datatype="BYTES", shape=[1])
    config = model_config_pb2.ModelConfig(name="vico", platform="ensemble", backend="python", max_batch_size=0)
    for name in ("caller", "prompt"):
        config.input.add(name=name, data_type=model_config_pb2.TYPE_STRING, dims=[1], optional=True)
    config.output.add(name="images", data_type=model_config_pb2.TYPE_STRING, dims=[-1])
    config.ensemble_scheduling.step.add(model_name="unet_loop").input_map["prompt"] = "prompt"
    config.parameters["graphs"].string_value = "/srv/graphs"
    config.default_model_filename = "secret.py"
    spec = model_spec(answer.SerializeToString(), pb.ModelConfigResponse(config=config).SerializeToString())
    assert set(spec.inputs) == {"prompt"}
    assert b"caller" not in spec.metadata
    public = pb.ModelConfigResponse.FromString(spec.config).config
    assert [(tensor.name, tensor.optional) for tensor in public.input] == [("prompt", True)]
    assert [(tensor.name, list(tensor.dims)) for tensor in public.output] == [("images", [-1])]
    told = {field.name for field, _ in public.ListFields()}
    assert told == {"name", "input", "output", "model_transaction_policy"}
    assert not public.model_transaction_policy.decoupled


def test_only_the_stream_is_said_to_answer_more_than_once() -> None:
    for name in PUBLIC_MODELS:
        config = pb.ModelConfigResponse(config=model_config_pb2.ModelConfig(name=name)).SerializeToString()
        public = pb.ModelConfigResponse.FromString(model_spec(b"", config).config).config
        assert public.model_transaction_policy.decoupled == (name == STREAM_MODEL)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_or_clean(message: bytes) -> None:
    line = ""
    try:
        clean(parse(message, MODELS), SPEC, b"sealed", 0)
    except Refused as error:
        line = error.line
    assert "\n" not in line


def test_what_decides_the_time_is_read_from_either_form() -> None:
    request = request_of(**GOOD, guidance_scale=struct.pack("<f", 4.0))
    assert fields_of_time(cleaned(request)) == {"steps": 3, "guidance_scale": 4.0}
    typed = pb.ModelInferRequest(model_name="vico", id="given-id")
    tensor = typed.inputs.add(name="steps", datatype="INT32", shape=[1])
    tensor.contents.int_contents.append(7)
    assert fields_of_time(cleaned(typed)) == {"steps": 7}


def test_what_is_read_of_a_concept_is_told_by_digests() -> None:
    request = request_of(**{**GOOD, "concept": text(b"toy"), "prompt": text(b"a * toy")})
    reading = reading_of(cleaned(request))
    assert reading == Reading.of("toy@" + "b" * 64, "a * toy", "")
    assert reading is not None
    assert reading != reading_of(cleaned(request_of(**{**GOOD, "concept": text(b"toy"), "prompt": text(b"a *")})))
    for other in ({"concept": text(b"")}, {"concept": text(b"x" * 100)}, {"reference_image": text(b"a photo")}):
        assert reading_of(cleaned(request_of(**{**GOOD, "concept": text(b"toy"), **other}))) is None
    assert reading_of(cleaned(request_of(**{**GOOD, "concept": text(b"\xff"), "prompt": text(b"\xff")})))


@pytest.mark.parametrize(("concept", "known"), [(b"team-toy", True), (b"other-toy", False)])
def test_of_a_hidden_concept_nothing_is_asked(concept: bytes, known: bool) -> None:
    asked: list[Question] = []

    class Asking(Foresight):
        async def refusal(self, question: Question) -> None:
            asked.append(question)

    message = cleaned(request_of(**{**GOOD, "concept": text(concept)}))
    for microseconds in (0, 2_000_000):
        message.parameters["timeout"].int64_param = microseconds
        asyncio.run(require_time(Asking(), message, Caller("somebody", "team", ("team-*",), "call")))
    [question] = asked
    assert question.client == "somebody"
    assert (question.reading is not None) is known
