"""The supervisor with two faults at once: the one that is mended first must not fall over the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from serving import supervisor as room
from serving.canary import Verdict
from serving.errors import LaunchError
from serving.supervisor import Patience, Supervisor
from serving.telemetry.catalogue import FRONT


@dataclass
class World:
    """What lives, and what is about to die while something else is mended."""

    broken: dict[str, str] = field(default_factory=dict)
    door_stands_still: bool = False
    fronts: list[FakeFront] = field(default_factory=list)
    starts: int = 0
    dies_with_reload: bool = False
    dies_with_start: bool = False
    unreachable: int = 0
    """How often a door finds no way to the server."""
    door_hangs: bool = False
    """It neither ends nor stands still, and answers nothing."""
    unfit: int = 0
    """How often a new door refuses its files."""
    verdicts: list[Verdict] = field(default_factory=list)
    """Of the next canaries; WELL then."""
    told: list[str] = field(default_factory=list)
    """What doors were told."""

    def door_dies(self) -> None:
        self.fronts[-1].dead = True


class FakeFront:
    pid = 2

    def __init__(self, world: World) -> None:
        if world.fronts and world.unfit:
            world.unfit -= 1
            raise LaunchError("keys", "malformed", "a file made by `vico keys add`")
        self.world, self.dead, self.config = world, False, world
        world.fronts.append(self)

    def answers(self) -> bool:
        hangs, self.world.door_hangs = self.world.door_hangs, False
        return not hangs

    def ended(self) -> bool:
        return self.dead

    def serve(self) -> bool:
        if self.world.unreachable:
            self.world.unreachable -= 1
            return False
        self.world.told.append("serve")
        return not self.dead

    def refuse(self, drop: bool, drop_streams: bool = False) -> None:
        self.world.told.append("refuse")

    def drain(self, grace_seconds: float) -> None: ...

    def kill(self) -> None:
        self.dead = True


class FakeCanary:
    world: World

    def __init__(self, *_: Any) -> None: ...

    def close(self) -> None: ...

    def cancel_all(self) -> None: ...

    def look(self) -> Verdict:
        return self.world.verdicts.pop(0) if self.world.verdicts else Verdict.WELL

    def passes(self, seconds: float) -> bool:
        return True


class FakeServer:
    pid = 1
    private = None

    class config:  # noqa: N801 - stands for the server's
        secret = "ab" * 32

    def __init__(self, world: World) -> None:
        self.world = world

    def start(self, timeout_seconds: float) -> None:
        self.world.starts += 1
        if self.world.dies_with_start and self.world.starts > 1:
            self.world.dies_with_start = False
            self.world.door_dies()

    def reload(self, stage: str) -> bool:
        if self.world.dies_with_reload:
            self.world.door_dies()
        return True

    def kill(self) -> None: ...

    def close(self, graceful: bool = True) -> None: ...


class FakeWatch:
    world: World

    def __init__(self, processes: dict[str, int]) -> None:
        self.is_door = FRONT in processes
        self.processes = dict.fromkeys(("picture_stream", "unet_loop"), 2**30)

    def broken(self) -> dict[str, str]:
        if self.is_door:
            still, self.world.door_stands_still = self.world.door_stands_still, False
            return {FRONT: "frozen"} if still else {}
        found, self.world.broken = self.world.broken, {}
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    FakeWatch.world = FakeCanary.world = world
    for name, fake in {
        "FrontProcess": FakeFront, "Canary": FakeCanary, "Watch": FakeWatch,
        "stage_processes": lambda pid: {}, "kill": lambda pid: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(room, name, fake)
    return world


def supervise(world: World, **patience: Any) -> Supervisor:
    server: Any = FakeServer(world)
    front: Any = world
    return Supervisor(server, front, 8, Patience(longest_backoff_seconds=0.0, **patience))


def test_a_door_that_dies_while_a_stage_is_loaded_again_is_replaced(world: World) -> None:
    supervisor = supervise(world)
    world.broken, world.dies_with_reload = {"picture_stream": "frozen"}, True
    supervisor.look()
    assert len(world.fronts) == 2
    assert supervisor.front.serve()
    assert world.starts == 1, "the server goes on"


def test_a_door_that_dies_while_the_server_is_started_again_is_replaced(world: World) -> None:
    supervisor = supervise(world)
    world.broken, world.dies_with_start = {"unet_loop": "ended"}, True
    supervisor.look()
    assert len(world.fronts) == 2
    assert world.starts == 2, "once, not again for the door's sake"


def test_a_door_that_stands_still_is_ended_and_replaced(world: World) -> None:
    supervisor = supervise(world)
    world.door_stands_still = True
    supervisor.look()
    first, second = world.fronts
    assert first.dead, "it would keep the port"
    assert supervisor.front is second  # type: ignore[comparison-overlap]
    assert world.starts == 1, "the server goes on"


def test_a_door_that_finds_no_way_to_the_server_has_it_started_again(world: World) -> None:
    supervisor = supervise(world)
    world.broken, world.unreachable = {"picture_stream": "ended"}, 1
    supervisor.look()
    assert (world.starts, len(world.fronts)) == (2, 1)


def test_a_door_that_hangs_is_replaced(world: World) -> None:
    supervisor = supervise(world, canary_every_seconds=0.0)
    world.door_hangs = True
    supervisor.look()
    first, second = world.fronts
    assert first.dead
    assert supervisor.front is second  # type: ignore[comparison-overlap]
    assert world.told == ["serve", "serve"]
    assert world.starts == 1, "the server goes on"


def test_a_new_door_is_tried_again_until_its_files_are_fit(world: World) -> None:
    supervisor = supervise(world, restarts=4)
    world.door_stands_still, world.unfit = True, 3
    supervisor.look()
    assert len(world.fronts) == 2
    assert world.starts == 1, "the server goes on"
    world.door_stands_still, world.unfit = True, 4
    with pytest.raises(LaunchError, match="keys: malformed"):
        supervisor.look()


def test_readiness_is_what_the_canary_says(world: World) -> None:
    supervisor = supervise(world, canary_every_seconds=0.0)
    world.verdicts = [Verdict.WELL, Verdict.WAITING, Verdict.ILL, Verdict.WAITING, Verdict.WELL]
    for _ in range(5):
        supervisor.look()
    assert world.told == ["serve", "refuse", "serve"]
    assert world.starts == 1


def test_a_server_that_is_ill_twice_is_started_again(world: World) -> None:
    supervisor = supervise(world, canary_every_seconds=0.0)
    world.verdicts = [Verdict.ILL, Verdict.ILL]
    for _ in range(2):
        supervisor.look()
    assert world.told[-1] == "serve"
    assert world.starts == 2


def test_it_gives_up_only_when_no_start_helps(world: World) -> None:
    supervisor = supervise(world, restarts=3)
    world.broken, world.unreachable = {"picture_stream": "ended"}, 10**6
    with pytest.raises(LaunchError, match="cannot reach the server"):
        supervisor.look()
    assert world.starts == 1 + 3


def test_a_first_start_without_a_way_to_the_server_is_refused(world: World) -> None:
    world.unreachable = 10**6
    with pytest.raises(LaunchError, match="cannot reach the server"):
        supervise(world)
