"""A client that goes away just as a stage refuses what it asked for does Triton no harm.

A call that is cancelled while Triton 2.51 answers it can end it with signal 11 (its issues 7368 and 8034; about one in
a thousand), and some stay behind, so that it stops only when its patience of 15 seconds has passed. So the front door
lets every call run to its end (`serving.front.flights`), and tells the loop that nobody waits for it.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from served import start_server
from streamed import stream_body
from ways import STREAMING, TO_PICTURES, Way

from serving.command import EXIT_TIMEOUT_SECONDS
from serving.front.wire import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Exported

MANY = 500
LONGEST = 0.015
"""Seconds until a client goes away: a refusal takes about ten milliseconds."""


def ask_and_go(way: Way, channel: grpc.Channel, seconds: float) -> None:
    body = stream_body(way.model, prompt="a *", concept="nobody")
    if way.method == STREAMING:
        asked = channel.stream_stream(SERVICE + STREAMING)(iter([body]), timeout=60)
    else:
        asked = channel.unary_unary(SERVICE + way.method).future(body, timeout=60)
    time.sleep(seconds)
    asked.cancel()


@pytest.mark.parametrize("way", [TO_PICTURES[0], TO_PICTURES[2]], ids=str)
def test_clients_that_go_away_as_they_are_refused_do_triton_no_harm(
    exported: Exported, tmp_path: Path, way: Way
) -> None:
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log")
    before, chance = served.triton(), random.Random(1)
    with grpc.insecure_channel(served.address) as channel:
        for _ in range(MANY):
            ask_and_go(way, channel, chance.uniform(0, LONGEST))
    time.sleep(1)
    lives, began = before in served.processes(), time.monotonic()
    assert served.stop() == 0
    assert "Signal (11)" not in served.log()
    assert lives
    assert time.monotonic() - began < EXIT_TIMEOUT_SECONDS, "nothing is left in it that it waits for"
