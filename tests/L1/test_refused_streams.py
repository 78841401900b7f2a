"""What a stage refuses has the same status and words by every method, though Triton loses the status in a stream."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from served import Served
from ways import STREAMING, Way, outcome_on

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vico", {"prompt": "a *", "concept": "nobody"}, "NOT_FOUND"),
    ("vico", {"prompt": "a", "steps": 101}, "INVALID_ARGUMENT"),
    ("vico_concepts", {"pattern": "A"}, "INVALID_ARGUMENT"),
]


@pytest.mark.parametrize(("model", "fields", "status"), REFUSED, ids=str)
def test_a_refusal_is_the_same_by_every_method(server: Served, model: str, fields: dict[str, Any], status: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        unary, streamed = (outcome_on(way, channel, **fields) for way in (Way(model), Way(model, STREAMING)))
    assert streamed == unary
    assert streamed.status == status
