"""The client and the server's own code, side by side without a server between them: refusals and info cross whole."""

from __future__ import annotations

import dataclasses
import json

import pytest
import vico_client
from fake_vico_server import DIGEST, picture, response
from vico_client.decode import decode_result
from vico_client.status import error_from_status

from serving import errors as serving
from serving.report import Notice, StageReport, build_info
from serving.request import GenerateRequest as ServedRequest
from vico.errors import ConceptError, PromptError, VicoError

# pb_utils.TritonError's name of a code → the gRPC status that tritonserver 2.51 makes of it
GRPC_STATUS = {
    "INVALID_ARG": "INVALID_ARGUMENT",
    "NOT_FOUND": "NOT_FOUND",
    "UNAVAILABLE": "UNAVAILABLE",
    "INTERNAL": "INTERNAL",
}


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (serving.InvalidField, vico_client.InvalidRequest),
        (PromptError, vico_client.InvalidRequest),
        (serving.ConceptNotFound, vico_client.ConceptNotFound),
        (serving.ConceptRefused, vico_client.ConceptRejected),
        (ConceptError, vico_client.ConceptRejected),
        (serving.Overloaded, vico_client.Overloaded),
    ],
)
def test_a_refusal_of_the_server_arrives_as_its_error(
    refusal: type[VicoError], expected: type[vico_client.VicoClientError]
) -> None:
    refused = refusal("concept", "not 'good'; is bad", "something else")
    wire = serving.to_wire(refused)
    error = error_from_status(GRPC_STATUS[wire.code], f"in ensemble 'vico', {wire.message}")
    assert type(error) is expected
    assert (error.field, error.problem, error.hint) == ("concept", "not 'good'; is bad", "something else")
    assert error.status == serving.status_of(refused)


def test_a_fault_of_the_server_arrives_with_its_request_id() -> None:
    wire = serving.internal("r7")
    error = error_from_status(GRPC_STATUS[wire.code], f"in ensemble 'vico', {wire.message}", request_id="r7")
    assert type(error) is vico_client.ServerError
    assert "r7" in str(error.hint)


def test_info_arrives_as_the_server_built_it() -> None:
    values = {spec.name: 0 if spec.type == "int" else "" for spec in dataclasses.fields(ServedRequest)}
    shown = {"seed": 7, "steps": 9, "sampler": "ddim", "height": 24, "width": 16, "concept": f"my-toy@{DIGEST}"}
    request = ServedRequest(**{**values, **shown})  # type: ignore[arg-type]
    reports = [
        StageReport("text_encoder", 0.25, (Notice("prompt_truncated", "too long"),)),
        StageReport("unet_loop", 2),
    ]
    answer = response([picture("png", 16, 24)], build_info(request, reports).encode())
    info = decode_result(answer, vico_client.GenerateRequest("a photo of *")).info
    assert {name: getattr(info, name) for name in shown} == shown
    assert info.warnings == (vico_client.ServerWarning("prompt_truncated", "too long"),)
    assert info.timings["text_encoder"] == pytest.approx(0.25)
    assert json.dumps(dataclasses.asdict(info))
