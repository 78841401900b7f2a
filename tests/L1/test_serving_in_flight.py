"""Requests of every kind share the running batch of the real server, and those that are given up leave it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from served import Answer, Caller, Refusal, Served, start_server
from test_serving_pictures import psnr
from tritonclient.utils import InferenceServerException

from serving.supervisor import Patience

if TYPE_CHECKING:
    from conftest import Exported

PROMPT = "a photo of a *"
MIXED: list[dict[str, Any]] = [
    {"prompt": PROMPT, "concept": "toy", "steps": 60, "seed": 1},
    {"prompt": PROMPT, "concept": "second", "steps": 45, "seed": 2, "sampler": "ddim"},
    {"prompt": "a dog", "steps": 50, "seed": 3, "guidance_scale": 1.0},
    {"prompt": PROMPT, "concept": "third", "steps": 55, "seed": 4, "guidance_scale": 3.0, "num_images": 2},
    {"prompt": PROMPT, "concept": "fixed", "steps": 40, "seed": 5, "image_guidance": 0.6},
    {"prompt": "* on grass", "concept": "toy", "steps": 50, "seed": 6, "sampler": "unipc"},
]


@pytest.fixture(scope="module")
def mixed(exported: Exported, server: Served) -> list[dict[str, Any]]:
    exported.make_concept(server.registry, "second", seed=21)
    exported.make_concept(server.registry, "third", seed=22)
    exported.make_concept(server.registry, "fixed", seed=23, reference_context="concept")
    return MIXED


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def ask(server: Served, **fields: Any) -> Answer | Refusal:
    return Caller(server.address).ask(**fields)


def test_requests_of_every_kind_share_steps_and_keep_their_pictures(
    server: Served, call: Caller, pool: ThreadPoolExecutor, mixed: list[dict[str, Any]]
) -> None:
    alone = [call(**fields) for fields in mixed]
    assert [answer.info["batch"]["lanes"] for answer in alone] == [fields.get("num_images", 1) for fields in mixed]
    together = list(pool.map(lambda fields: ask(server, **fields), mixed))
    uses, worst = [], np.inf
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Answer), other
        worst = min(worst, psnr(one.pixels(), other.pixels()))
        uses.append(other.info["batch"])
    steps = max(use["last_step"] for use in uses) - min(use["first_step"] for use in uses) + 1
    print(f"PSNR {worst:.1f} dB; {steps} steps for {sum(fields['steps'] for fields in mixed)}, {uses}")
    assert worst >= 40
    assert all(use["lanes"] > 1 for use in uses)
    assert steps < 0.7 * sum(fields["steps"] for fields in mixed)
    for use, fields in zip(uses, mixed, strict=True):
        assert use["steps"] == fields["steps"]
        canaries = use["seconds"] / Patience.canary_every_seconds + 1
        others = use["last_step"] - use["first_step"] + 1 - use["steps"]
        assert others <= canaries, "it took part in every step but the canary's, which is of a size of its own"
        assert use["predicted_seconds"] > 0
        assert 0 <= use["queue_seconds"] < use["seconds"]


def long_request(call: Caller, timeout_seconds: float, client_timeout: float | None = None) -> Any:
    """Pictures that take far longer than anyone here waits."""
    names = {"prompt": "BYTES", "steps": "INT32", "num_images": "INT32"}
    values: dict[str, Any] = {
        "prompt": np.array([b"a dog"], object), "steps": np.array([100], np.int32),
        "num_images": np.array([7], np.int32),
    }  # fmt: skip
    inputs = []
    for name, dtype in names.items():
        inputs.append(triton.InferInput(name, [1], dtype))
        inputs[-1].set_data_from_numpy(values[name])
    return call.client.infer("vico", inputs, timeout=int(timeout_seconds * 1e6), client_timeout=client_timeout)


@pytest.mark.parametrize("client_timeout", [None, 0.1], ids=["waits", "disappears"])
def test_what_cannot_be_in_time_is_not_begun_and_others_go_on(
    server: Served, call: Caller, pool: ThreadPoolExecutor, client_timeout: float | None
) -> None:
    """Steps were measured by the request before it, so that it is refused and not begun."""
    alone = call(prompt="a cat", steps=90, seed=9)
    beside = pool.submit(ask, server, prompt="a cat", steps=90, seed=9)
    began = time.monotonic()
    with pytest.raises(InferenceServerException) as caught:
        long_request(Caller(server.address), 0.3, client_timeout)
    if client_timeout is None:
        found = re.search(r"timeout: \S+ s, and the earliest this can be done is (\S+) s", str(caught.value.message()))
        assert found, caught.value.message()
        assert float(found[1]) > 0.3
        assert str(caught.value.message()).endswith("[RESOURCE_EXHAUSTED]")
    time.sleep(max(0.0, 0.6 - (time.monotonic() - began)))
    after = call(prompt="a dog", steps=2)
    other = beside.result(60)
    assert isinstance(other, Answer), other
    assert psnr(alone.pixels(), other.pixels()) >= 40
    assert after.info["batch"]["lanes"] <= 2, "the seven lanes never joined"


def test_a_full_queue_refuses_at_once_and_recovers(
    exported: Exported, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    (tmp_path / "registry").mkdir()
    served = start_server(
        exported.folder, tmp_path / "registry", tmp_path / "log", "--max-lanes", "1", "--max-queue", "8"
    )
    try:
        answers = list(pool.map(lambda k: ask(served, prompt="a", steps=60, num_images=4, seed=k), range(6)))
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        assert len(refusals) == 4, answers
        for refusal in refusals:
            assert refusal.status == "UNAVAILABLE"
            assert "num_images: 4 pictures, and the queue has room for 1; accepted: fewer" in refusal.message
            assert refusal.message.endswith("[RESOURCE_EXHAUSTED]")
        assert isinstance(ask(served, prompt="a", steps=1, num_images=8), Answer)
    finally:
        assert served.stop() == 0


def test_a_server_told_to_stop_answers_whom_it_leaves(
    exported: Exported, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Triton closes every stage at once: what has not reached the last one is refused, in a way that can be retried."""
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log")
    asked = [pool.submit(ask, served, prompt="a", steps=100, num_images=2, seed=k) for k in range(3)]
    time.sleep(0.3)
    assert not any(future.done() for future in asked), "the test means nothing"
    assert served.stop(signal.SIGTERM) == 0
    for future in asked:
        answer = future.result(5)
        assert isinstance(answer, Answer) or answer.status == "UNAVAILABLE", answer
