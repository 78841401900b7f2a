"""What sharing a batch gains, and what concepts in it cost: pictures a second, with as many users as lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.serving.bench import Bench, Measurement, TakeRound
from benchmarks.serving.load import closed, send, workload
from benchmarks.serving.results import Round

_PROMPT = ("a photo of a * on the beach",)


@contextmanager
def _curve(bench: Bench) -> Iterator[TakeRound]:
    def take(number: int) -> Round:
        speeds = {users: _speed(bench, users, bench.ids[:1], number) for users in bench.settings.curve}
        first, last = bench.settings.curve[0], bench.settings.curve[-1]
        curve = {f"images_per_second_{users}": speed for users, speed in speeds.items()}
        return {"batch_gain": speeds[last] / speeds[first], **curve}

    yield take


@contextmanager
def _mixed(bench: Bench) -> Iterator[TakeRound]:
    lanes, slots = bench.settings.lanes, bench.settings.slots
    concepts = {"single": bench.ids[:1], "mixed": bench.ids[: min(lanes, slots)]}

    def take(number: int) -> Round:
        sides = list(concepts) if number % 2 == 0 else list(concepts)[::-1]
        speeds = {side: _speed(bench, lanes, concepts[side], number) for side in sides}
        return {"mixed_over_single": speeds["single"] / speeds["mixed"]}

    yield take


def _speed(bench: Bench, users: int, concepts: Sequence[str], number: int) -> float:
    """Pictures a second. One prompt, met before: all reference features are there."""
    asked = workload(concepts, [bench.settings.picture_steps], popularity="uniform", prompts=_PROMPT)
    sent = send(bench, bench.server(), closed(bench, users, bench.settings.closed_seconds), asked, number)
    return sent.per_second


CURVE = Measurement("curve", ("batch_gain",), _curve)
MIXED = Measurement("mixed", ("mixed_over_single",), _mixed)
