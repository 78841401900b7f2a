"""What the loop tells: of every event as it happens, and once a second how it stands."""

from __future__ import annotations

from serving.bank import SlotBank
from serving.concepts.store import ConceptStore
from serving.loop import EngineLoop
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.quiet import quiet
from serving.use import Ending, LoopUse


class LoopMetrics:
    """The observer that counts for Prometheus; see `serving.use.Observer`. Some microseconds for an event."""

    def __init__(self, make: Instruments) -> None:
        self._refusals = make.counter(of.REFUSALS)
        self._queue = make.histogram(of.QUEUE_SECONDS)[""]
        self._step = make.histogram(of.STEP_SECONDS)[""]
        self._lane_steps = make.counter(of.LANE_STEPS)[""]
        self._row_steps = make.counter(of.ROW_STEPS)[""]
        self._requests = make.histogram(of.REQUEST_SECONDS)
        self._cancellations = make.counter(of.CANCELLATIONS)[""]
        self._deadline_misses = make.counter(of.DEADLINE_MISSES)[""]
        self._useful = make.counter(of.USEFUL)[""]
        self._wasted = make.counter(of.WASTED)[""]

    @quiet
    def refused(self, reason: str) -> None:
        """See `Observer`."""
        self._refusals[reason].inc()

    @quiet
    def queued(self, seconds: float) -> None:
        """See `Observer`."""
        self._queue.observe(seconds)

    @quiet
    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        """See `Observer`."""
        self._step.observe(seconds)
        self._lane_steps.inc(lanes)
        self._row_steps.inc(rows)

    @quiet
    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        """See `Observer`."""
        self._requests[ending].observe(seconds)
        (self._useful if ending == "done" else self._wasted).inc(work)
        if ending == "cancelled":
            self._cancellations.inc()
        elif ending == "deadline":
            self._deadline_misses.inc()


class LoopState:
    """How the loop stands: call it now and then, beside the loop."""

    def __init__(self, make: Instruments, loop: EngineLoop, bank: SlotBank) -> None:
        self._loop = loop
        self._bank = bank
        self._lanes = make.gauge(of.LANES)[""]
        self._waiting = make.gauge(of.WAITING)[""]
        self._hits = make.counter(of.FEATURE_HITS)[""]
        self._misses = make.counter(of.FEATURE_MISSES)[""]
        self._swaps = make.counter(of.SWAPS)[""]
        self._feature_bytes = make.gauge(of.FEATURE_BYTES)[""]
        self._slot_bytes = make.gauge(of.SLOT_BYTES)[""]
        self._told = LoopUse()
        make.gauge(of.LANES_LIMIT)[""].set(loop.engine.max_lanes)
        make.gauge(of.FEATURE_LIMIT)[""].set(loop.engine.references.use.max_bytes)
        make.gauge(of.SLOT_LIMIT)[""].set(bank.max_bytes)

    @quiet
    def __call__(self) -> None:
        """Tell."""
        lanes, waiting = self._loop.occupancy
        self._lanes.set(lanes)
        self._waiting.set(waiting)
        use, before = self._loop.use, self._told
        self._hits.inc(use.feature_hits - before.feature_hits)
        self._misses.inc(use.feature_misses - before.feature_misses)
        self._swaps.inc(use.swaps - before.swaps)
        self._told = use
        self._feature_bytes.set(self._loop.engine.references.use.size_bytes)
        self._slot_bytes.set(self._bank.size_bytes)


class HostCacheState:
    """What a stage holds of concept packages: call it now and then."""

    def __init__(self, make: Instruments, store: ConceptStore) -> None:
        self._store = store
        self._bytes = make.gauge(of.HOST_CACHE_BYTES)[""]
        make.gauge(of.HOST_CACHE_LIMIT)[""].set(store.max_host_bytes)

    @quiet
    def __call__(self) -> None:
        """Tell."""
        self._bytes.set(self._store.host_bytes)
