"""Streams that a stage refuses: with the status that a unary call has, and without harm to Triton.

Asked for errors as status (`triton_grpc_error`), Triton 2.51 ends such a stream by itself, logs "HandleCancellation
called even when the context was not cancelled", and dies of signal 11 once in some hundred times: any client with a key
could end everybody's requests. So the text of the error comes in the response, and the front door makes a status of it
(`serving.front.answer.stream_error`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from served import Served, own_server
from ways import STREAMING, TO_PICTURES, Way, outcome_on

if TYPE_CHECKING:
    from conftest import Exported

MANY = 300
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vico", {"prompt": "a *", "concept": "nobody"}, "NOT_FOUND"),
    ("vico", {"prompt": "a", "steps": 101}, "INVALID_ARGUMENT"),
    ("vico_concepts", {"pattern": "A"}, "INVALID_ARGUMENT"),
]


@pytest.fixture(scope="module")
def victim(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with own_server(exported.folder, tmp_path_factory.mktemp("victim")) as served:
        yield served


@pytest.mark.parametrize(("model", "fields", "status"), REFUSED, ids=str)
def test_a_refusal_is_the_same_by_every_method(victim: Served, model: str, fields: dict[str, Any], status: str) -> None:
    with grpc.insecure_channel(victim.address) as channel:
        unary, streamed = (outcome_on(way, channel, **fields) for way in (Way(model), Way(model, STREAMING)))
    assert streamed == unary
    assert streamed.status == status


def test_streams_that_are_refused_do_triton_no_harm(victim: Served) -> None:
    before = victim.triton()
    with grpc.insecure_channel(victim.address) as channel:
        for count in range(MANY):
            refused = outcome_on(TO_PICTURES[2], channel, prompt="a *", concept="nobody")
            assert refused.status == "NOT_FOUND", (count, refused)
    assert victim.triton() == before
    assert "HandleCancellation called" not in victim.log()
