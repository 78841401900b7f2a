"""At most one copy of a photo on its way out, none of a picture on its way in; and that the messages are protobuf."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from fake_vico_server import FakeServer, bytes_tensor, info_of, response
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from vico_client import Client, GenerateRequest, ServerError
from vico_client.decode import bytes_elements, decode_message
from vico_client.encode import tensors
from vico_client.wire import Tensor, read_answer, request_message

MEGABYTE = 2**20
PHOTO = bytes(8 * MEGABYTE)
SLACK = MEGABYTE // 4


def _peak(work: Callable[[], Any]) -> tuple[Any, int]:
    """(what it returns, bytes that Python held at most in addition)"""
    work()  # what is imported or cached at the first call is no copy
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_a_photo_is_copied_once_into_the_message(form: Callable[[bytes], Any]) -> None:
    photo = form(PHOTO)

    def message() -> bytes:
        return request_message(tensors(GenerateRequest("*", concept="a", reference_image=photo)), "r1", 1.0)

    made, peak = _peak(message)
    assert len(PHOTO) <= peak < len(PHOTO) + SLACK
    assert service_pb2.ModelInferRequest.FromString(made).raw_input_contents[-1][4:] == PHOTO


def test_a_photo_as_bytes_is_not_copied_before_that() -> None:
    (photo,) = [tensor for tensor in tensors(GenerateRequest("*", reference_image=PHOTO)) if "image" in tensor.name]
    assert isinstance(photo.content, memoryview)
    assert photo.content.obj is PHOTO


def test_pictures_of_an_answer_are_views_of_the_message() -> None:
    message = response([PHOTO, PHOTO[:99]], b"{}").SerializeToString()

    def files() -> list[memoryview]:
        return bytes_elements(read_answer(message), "images")

    views, peak = _peak(files)
    assert peak < SLACK
    assert [len(view) for view in views] == [len(PHOTO), 99]
    assert all(view.obj is message for view in views)


def test_files_of_a_result_are_views_of_the_message() -> None:
    fields = {"height": 1024, "width": 1024}
    info = str(info_of(fields)).replace("'", '"').encode()
    message = response([bytes(1024 * 1024 * 3)], info).SerializeToString()
    result = decode_message(message, GenerateRequest("a toy", output_format="raw"))
    assert result.files[0].obj is message
    assert result.images[0].size == (1024, 1024)


def test_a_large_photo_and_a_large_picture_cross_a_real_connection(client: Client, server: FakeServer) -> None:
    photo = bytes(range(256)) * 4096
    server.answer = lambda call: response(
        [bytes(2048 * 2048 * 3)], str(info_of(call.fields, height=2048, width=2048)).replace("'", '"').encode()
    )
    (picture,) = client.generate("*", concept="a", reference_image=photo, output_format="raw")
    assert server.calls[0].fields["reference_image"] == photo
    assert picture.size == (2048, 2048)


_contents = st.binary(max_size=300) | st.integers(0, 20_000).map(bytes)


@given(contents=st.lists(_contents, max_size=6), request_id=st.text(), timeout=st.floats(1e-3, 1e6))
def test_protobuf_reads_the_messages_we_write(contents: list[bytes], request_id: str, timeout: float) -> None:
    given_tensors = [Tensor(f"t{number}", "BYTES", content) for number, content in enumerate(contents)]
    message = service_pb2.ModelInferRequest.FromString(request_message(given_tensors, request_id, timeout))
    assert (message.model_name, message.id) == ("vico", request_id)
    assert message.parameters["timeout"].int64_param == max(1, round(timeout * 1e6))
    assert [(item.name, item.datatype, list(item.shape)) for item in message.inputs] == [
        (tensor.name, "BYTES", [1]) for tensor in given_tensors
    ]
    assert list(message.raw_input_contents) == [bytes_tensor([content]) for content in contents]
    assert [output.name for output in message.outputs] == ["images", "info"]


@given(
    contents=st.lists(_contents, max_size=6),
    names=st.lists(st.text(), max_size=6),
    number=st.integers(-(2**63), 2**63 - 1),
)
def test_we_read_the_messages_that_protobuf_writes(contents: list[bytes], names: list[str], number: int) -> None:
    message = service_pb2.ModelInferResponse(model_name="vico", id="r1", raw_output_contents=contents)
    message.parameters["p"].int64_param = number
    message.parameters["d"].double_param = 0.5
    for name in names:
        message.outputs.add(name=name, datatype="BYTES", shape=[1, 2])
    answer = read_answer(message.SerializeToString())
    assert [bytes(content) for content in answer.raw_output_contents] == contents
    assert [output.name for output in answer.outputs] == names


@given(message=st.binary(max_size=60))
def test_any_other_bytes_are_a_server_error(message: bytes) -> None:
    with pytest.raises(ServerError, match="malformed answer") as caught:
        decode_message(message, GenerateRequest("a toy", request_id="r2"))
    assert caught.value.request_id == "r2"


@given(cut=st.integers(0, 10_000))
def test_an_answer_that_is_cut_off_is_a_server_error(cut: int) -> None:
    whole = response([bytes(300), bytes(70_000)], b'{"seed": 1}').SerializeToString()
    with pytest.raises(ServerError, match="malformed answer"):
        decode_message(whole[: len(whole) * cut // 10_001], GenerateRequest("a toy"))
