"""When pictures will be done: the loop played forward, from one picture's end to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from serving.scheduling.claim import Batching
from serving.scheduling.cost import SizeClass, StepShape

StepSeconds = Callable[[StepShape], float]


@dataclass(frozen=True)
class Course:
    """What is left of one picture."""

    size_class: SizeClass
    steps: int
    """At least 1."""
    rows: float
    """Of one step, on average over the steps left."""
    attending: float
    """Rows that read references, likewise."""
    beside: float
    """Rows of the reference stream to be computed for it, likewise."""
    priority: int
    due: float
    """See `Policy.due`."""
    kind: Hashable
    """With request batching only pictures of one kind share a batch."""


@dataclass(frozen=True)
class Room:
    """What bounds a batch."""

    lanes: int
    """Pictures under way, of all size classes together."""
    rows: int
    """Of one step."""
    batching: Batching = "in_flight"


def forecast(running: Sequence[Course], waiting: Sequence[Course], room: Room, seconds: StepSeconds) -> list[float]:
    """Seconds from now at which each picture is done.

    Args:
        running: under way.
        waiting: in the order in which they will join.
        room: bounds of the batch.
        seconds: of one step, by its shape.

    Returns:
        One number for each of `running`, then one for each of `waiting`.
    """
    courses = [*running, *waiting]
    left = [course.steps for course in courses]
    done = [0.0] * len(courses)
    active = list(range(len(running)))
    queue = list(range(len(running), len(courses)))
    now = 0.0
    while active or queue:
        _join(active, queue, courses, room)
        members = _next_batch([(k, courses[k]) for k in active])
        batch = [courses[k] for k in members]
        steps = min(left[k] for k in members)
        now += steps * seconds(shape_of(batch))
        for k in members:
            left[k] -= steps
            if left[k] == 0:
                done[k] = now
                active.remove(k)
    return done


def shape_of(batch: Sequence[Course]) -> StepShape:
    """The shape of one step of pictures of one size class."""
    return StepShape(
        batch[0].size_class,
        rows=sum(course.rows for course in batch),
        attending=sum(course.attending for course in batch),
        beside=sum(course.beside for course in batch),
    )


def _next_batch(active: Sequence[tuple[int, Course]]) -> list[int]:
    """The size class with the most urgent picture, as the engine chooses it."""
    _, first = min(active, key=lambda pair: (-pair[1].priority, pair[1].due))
    return [k for k, course in active if course.size_class == first.size_class]


def _join(active: list[int], queue: list[int], courses: Sequence[Course], room: Room) -> None:
    """Move from `queue` to `active` what has room. With request batching only an empty batch is filled, of one kind."""
    if room.batching == "request" and active:
        return
    closed: set[Hashable] = set()
    for k in list(queue):
        if len(active) == room.lanes:
            return
        course = courses[k]
        kind = course.kind if room.batching == "request" else course.size_class
        if kind in closed or not _fits(course, [courses[other] for other in active], room):
            # no smaller one slips in before it
            closed.add(kind)
            continue
        active.append(k)
        queue.remove(k)


def _fits(course: Course, active: Sequence[Course], room: Room) -> bool:
    if room.batching == "request" and active and active[0].kind != course.kind:
        return False
    peers = [other for other in active if other.size_class == course.size_class]
    return not peers or sum(other.rows for other in peers) + course.rows <= room.rows
