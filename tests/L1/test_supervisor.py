"""Everything that can die or freeze, against the real server: noticed, mended, and nobody left without an answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import pytest
from served import Answer, Caller, Loop, Refusal, Served, own_server, start_server, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Exported

LATER = "accepted: the same request later"
STAGES = ["text_encoder", "image_encoder", "unet_loop", "vae_decoder", "picture_stream"]
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
NOTICE_SECONDS = 5.0
"""Within which what died or froze is noticed, at the very most."""


@pytest.fixture(scope="module")
def mended(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of this module's own, which is broken again and again."""
    with own_server(exported.folder, tmp_path_factory.mktemp("mended")) as served:
        yield served


@pytest.fixture(autouse=True)
def _well(request: pytest.FixtureRequest) -> None:
    """Each test begins with a server that serves, whatever became of the one before."""
    if "mended" in request.fixturenames:
        served = request.getfixturevalue("mended")
        assert wait_until(lambda: health(served) == SERVING, 300), served.log()


def replaced(served: Served, stage: str, pid: int) -> bool:
    """Whether the stage (or the front door), or the whole server, runs in another process than `pid`."""
    try:
        return (served.front() if stage == "front" else served.stages().get(stage, pid)) != pid
    except ValueError:  # there is none just now
        return True


def health(served: Served) -> bytes:
    with grpc.insecure_channel(served.address) as channel:
        try:
            return bytes(channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30))
        except grpc.RpcError as error:
            return bytes(error.code().name, "ascii")


@dataclass
class Clients:
    """Ask again and again, each waiting for its answer, until told to stop."""

    address: str
    count: int = 3
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self._expected = Caller(self.address)(prompt="a", steps=6, seed=1).images
        self._pool = ThreadPoolExecutor(self.count)
        self._done = [self._pool.submit(self._ask) for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._done:
            one.result(180)

    def _ask(self) -> None:
        caller = Caller(self.address)
        while not self._stop.is_set():
            answer = caller.ask(prompt="a", steps=6, seed=1)
            if isinstance(answer, Answer):
                self.outcomes["answered"] += 1
                if answer.images != self._expected:
                    self.wrong.append("another picture")
            elif answer.status == "UNAVAILABLE":
                # what gRPC says by itself when the door is gone has no line of ours; it is as retryable
                self.outcomes["later"] += 1
                time.sleep(0.05)
            else:
                self.wrong.append(f"{answer.status}: {answer.message}")


def broken_and_mended(served: Served, breaks: Callable[[], None], gone: Callable[[], bool]) -> None:
    """Break something under load: calls are refused, or it is replaced, at once. All is well afterwards."""
    with Clients(served.address) as clients:
        assert wait_until(lambda: clients.outcomes["answered"] > 3, 120)
        breaks()
        began = time.monotonic()
        assert wait_until(lambda: gone() or health(served) != SERVING, 60), "not noticed"
        noticed = time.monotonic() - began
        assert wait_until(lambda: health(served) == SERVING, 240), served.log()
        mended = time.monotonic() - began
        before = clients.outcomes["answered"]
        assert wait_until(lambda: clients.outcomes["answered"] > before + 3, 120), served.log()
    assert not clients.wrong
    print(f"noticed after {noticed:.1f} s, mended after {mended:.1f} s, {dict(clients.outcomes)}")
    # the supervisor looks twice a second, and takes what is stopped twice running for frozen
    assert noticed <= NOTICE_SECONDS


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_dead_or_frozen_stage_is_replaced(mended: Served, stage: str, number: signal.Signals) -> None:
    triton, before = mended.triton(), mended.stages()
    pid = before[stage]
    broken_and_mended(mended, lambda: os.kill(pid, number), lambda: replaced(mended, stage, pid))
    after = mended.stages()
    assert after[stage] != pid
    assert (mended.triton() != triton) == (stage == "unet_loop"), "the others stay, unless it is the loop"
    if stage != "unet_loop":
        assert {name for name in after if after[name] != before[name]} == {stage}, "of a fresh graph set, too"
    assert len(mended.processes()) == 6


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT], ids=["killed", "frozen", "aborted"]
)
def test_a_dead_or_frozen_server_is_started_again(mended: Served, number: signal.Signals) -> None:
    # the launcher's lock is its own, and stays
    pid, old = mended.triton(), {path.name for path in mended.regions() if not path.name.endswith("_lock")}
    broken_and_mended(mended, lambda: os.kill(pid, number), lambda: False)
    assert mended.triton() != pid
    assert not old & {path.name for path in mended.regions()}, "its shared memory is cleared"
    assert len(mended.processes()) == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_dead_or_frozen_front_door_is_replaced_at_the_same_address(mended: Served, number: signal.Signals) -> None:
    triton, pid = mended.triton(), mended.front()
    broken_and_mended(mended, lambda: os.kill(pid, number), lambda: replaced(mended, "front", pid))
    assert mended.front() != pid
    assert mended.triton() == triton


def test_pictures_under_way_survive_a_stage_before_the_loop(mended: Served) -> None:
    fields = {"prompt": "a", "steps": 100, "num_images": 2, "seed": 4}
    alone, loop = Caller(mended.address)(**fields), Loop(mended)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(Caller(mended.address).ask, **fields)
        assert wait_until(lambda: loop.pictures() == 2, 60)
        os.kill(mended.stages()["text_encoder"], signal.SIGKILL)
        answer = asked.result(240)
    assert isinstance(answer, Answer), answer
    assert answer.images == alone.images
    assert wait_until(lambda: health(mended) == SERVING, 240)


def test_while_it_mends_itself_clients_are_told_to_come_later(mended: Served) -> None:
    os.kill(mended.triton(), signal.SIGKILL)
    assert wait_until(lambda: health(mended) == NOT_SERVING, 60)
    refusal = Caller(mended.address).refused(prompt="a", steps=1)
    assert (refusal.status, refusal.message) == (
        "UNAVAILABLE", f"request: the server is starting, or mending itself; {LATER}"
    )  # fmt: skip
    assert wait_until(lambda: health(mended) == SERVING, 240)
    assert Caller(mended.address)(prompt="a", steps=1)


def test_told_to_stop_it_finishes_what_is_under_way_and_takes_nothing_new(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log", "--grace", "300")
    expected = Caller(served.address)(prompt="a", steps=40, num_images=2, seed=2)
    loop = Loop(served)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(Caller(served.address).ask, prompt="a", steps=40, num_images=2, seed=2) for _ in range(3)]
        assert wait_until(lambda: loop.pictures() == 6, 60)
        served.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: health(served) == NOT_SERVING, 60)
        refusal = Caller(served.address).ask(prompt="a", steps=1)
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.message) == ("UNAVAILABLE", f"request: the server is shutting down; {LATER}")
        assert not all(one.done() for one in asked), "the test means nothing"
        answers = [one.result(300) for one in asked]
    for answer in answers:
        assert isinstance(answer, Answer), answer
        assert answer.pixels().shape == expected.pixels().shape
    assert served.process.wait(120) == 0


def test_what_the_grace_does_not_suffice_for_is_refused_in_words(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log", "--grace", "0")
    loop = Loop(served)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(Caller(served.address).ask, prompt="a", steps=100, num_images=8) for _ in range(3)]
        assert wait_until(lambda: loop.pictures() == 24, 60)
        assert served.stop(signal.SIGTERM) == 0
        for one in asked:
            answer = one.result(30)
            assert isinstance(answer, Refusal)
            assert answer.status == "UNAVAILABLE"
