"""The engine: `schedule → run → advance`, one step of the running batch at a time. Knows nothing of Triton."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from serving.bank import SlotBank
from serving.batch import assemble, split_noise
from serving.lane import FloatArray, Lane, LaneSpec, SizeClass
from serving.references import ReferenceFeatures
from serving.runner import Runner
from vico.concept import ConceptPackage, SiteSpec
from vico.sampling import advance


class Engine:
    """Lanes join and leave between steps. A picture depends on its own spec only, not on its neighbours.

    Args:
        denoiser: the graph of that name.
        references: reference features, ahead of the loop.
        bank: the resident concepts.
        load: a concept's package by digest, when it is not resident.
        sites: in decoder order.
        max_lanes: lanes under way at once; further ones wait in order of arrival.
    """

    def __init__(
        self,
        denoiser: Runner,
        references: ReferenceFeatures,
        bank: SlotBank,
        load: Callable[[str], ConceptPackage],
        sites: Sequence[SiteSpec],
        max_lanes: int,
    ) -> None:
        self._denoiser = denoiser
        self._references = references
        self._bank = bank
        self._load = load
        self._sites = sites
        self.max_lanes = max_lanes
        self._waiting: deque[Lane] = deque()
        # size classes in the order of their turns
        self._running: dict[SizeClass, list[Lane]] = {}
        self._failed: list[Lane] = []

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not (self._waiting or self._running or self._failed)

    def submit(self, spec: LaneSpec) -> Lane:
        """Queue a picture; it joins at the next step with room."""
        lane = Lane(spec)
        self._waiting.append(lane)
        return lane

    def step(self) -> list[Lane]:
        """One denoising step of one size class; returns the lanes that ended, done or with an error."""
        batch = self.schedule()
        return self.advance(batch, self.run(batch) if batch else [])

    def schedule(self) -> list[Lane]:
        """Let waiting lanes join, then pick the size class whose turn it is; empty if nothing runs."""
        while self._waiting and self._lanes_running < self.max_lanes and self._join(self._waiting[0]):
            self._waiting.popleft()
        if not self._running:
            return []
        size_class = next(iter(self._running))
        lanes = self._running.pop(size_class)
        self._running[size_class] = lanes
        return list(lanes)

    def run(self, batch: Sequence[Lane]) -> list[FloatArray]:
        """Predict the noise of every lane of `batch`, guided: [4, h, w] each."""
        feeds = assemble(batch, self._sites, self._references, self._bank.arrays)
        return split_noise(batch, self._denoiser.run(feeds)["noise"])

    def advance(self, batch: Sequence[Lane], noise: Sequence[FloatArray]) -> list[Lane]:
        """Take every lane one step on; returns the lanes that ended."""
        for lane, predicted in zip(batch, noise, strict=True):
            lane.state = advance(lane.spec.plan, lane.state, predicted)
        ended = [lane for lane in batch if lane.done]
        for lane in ended:
            self._leave(lane)
        ended, self._failed = ended + self._failed, []
        return ended

    def cancel(self, lane: Lane) -> None:
        """Take a lane out, wherever it is; nothing happens if it has ended."""
        if lane in self._waiting:
            self._waiting.remove(lane)
        elif lane in self._running.get(lane.spec.size_class, ()):
            self._leave(lane)

    def fail(self, lane: Lane, error: Exception) -> None:
        """Take a lane out for a reason; the next `advance` returns it among those that ended."""
        self.cancel(lane)
        lane.error = error
        self._failed.append(lane)

    def clear(self) -> None:
        """Drop every lane, whatever state a fault has left things in; resident concepts stay."""
        self._waiting.clear()
        self._running.clear()
        self._failed.clear()
        self._bank.unpin_all()

    def check_integrity(self) -> None:
        """Raise AssertionError if a lane's slot is not its concept's, or a pin outlived its lane."""
        lanes = [lane for lanes in self._running.values() for lane in lanes]
        self._bank.check_integrity()
        self._bank.check_pins([lane.spec.concept.digest for lane in lanes if lane.spec.concept])
        for lane in lanes:
            if lane.spec.concept and self._bank.slot_of(lane.spec.concept.digest) != lane.slot:
                raise AssertionError(f"a lane reads slot {lane.slot}, which is not its concept's")
        self._references.cache.check_integrity()

    @property
    def _lanes_running(self) -> int:
        return sum(len(lanes) for lanes in self._running.values())

    def _join(self, lane: Lane) -> bool:
        """False if the lane must wait because every slot is in use."""
        if lane.spec.concept is not None:
            try:
                lane.slot = self._bank.acquire(lane.spec.concept.digest, self._load)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this lane's alone
                lane.error = error
                self._failed.append(lane)
                return True
            if lane.slot is None:
                return False
        self._running.setdefault(lane.spec.size_class, []).append(lane)
        return True

    def _leave(self, lane: Lane) -> None:
        lanes = self._running[lane.spec.size_class]
        lanes.remove(lane)
        if not lanes:
            del self._running[lane.spec.size_class]
        if lane.spec.concept is not None:
            self._bank.release(lane.spec.concept.digest)
