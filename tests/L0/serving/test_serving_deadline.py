"""The client's timeout, from Triton's microseconds to the loop that stops."""

from __future__ import annotations

import math
import time

import pytest

from serving.deadline import Deadline
from serving.errors import DeadlineExceeded
from serving.request import GenerateRequest

REQUEST = GenerateRequest("a dog", "", "", 0, 1, "ddim", 1.0, 1.0, 64, 64, 1, "png")


def test_no_timeout_is_no_deadline() -> None:
    assert Deadline.after(0).at == math.inf
    Deadline().check()


def test_a_passed_deadline_is_refused_by_name() -> None:
    deadline = Deadline.after(1)
    time.sleep(0.001)
    with pytest.raises(DeadlineExceeded, match="timeout"):
        deadline.check()


def test_a_deadline_travels_with_the_request() -> None:
    deadline = Deadline.after(5_000_000)
    assert GenerateRequest.from_json(REQUEST.due(deadline).to_json()).deadline == deadline
    assert GenerateRequest.from_json(REQUEST.due(Deadline()).to_json()).deadline == Deadline()
