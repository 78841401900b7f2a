"""In a stage that holds packages: acts on the operator's wishes beside the requests, and says what is held."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Event, Thread

from serving.concepts.store import ConceptStore
from serving.concepts.wishes import Holding, Wishes, read_wishes, version_of_wishes, write_holding
from vico.errors import VicoError

logger = logging.getLogger("vico.serving")


class Keeper:
    """Pins and warms the host cache of one stage, and offers the same digests to its device slots.

    Args:
        stage: its name.
        store: of that stage.
        slots: takes the pinned digests and those to load ahead, most wanted first; called when they change.
        resident: digests in device slots now.
        interval_seconds: between two looks.
    """

    def __init__(
        self,
        stage: str,
        store: ConceptStore,
        slots: Callable[[Wishes], None] = lambda _: None,
        resident: Callable[[], Iterable[str]] = tuple,
        interval_seconds: float = 1.0,
    ) -> None:
        self._stage = stage
        self._store = store
        self._slots = slots
        self._resident = resident
        self._interval_seconds = interval_seconds
        self._seen = (0, 0)
        self._stop = Event()
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> Keeper:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """One look."""
        version = version_of_wishes(self._store.folder)
        if version != self._seen:
            wishes = read_wishes(self._store.folder)
            self._store.pin(wishes.pinned)
            for digest in wishes.removed:
                self._store.evict(digest)
            self._warm((*wishes.pinned, *wishes.prefetched))
            self._slots(wishes)
            self._seen = version
        use = self._store.use
        held = self._store.held()
        write_holding(
            self._store.folder,
            Holding(self._stage, held, tuple(sorted(self._resident())), use.host_bytes, use.max_host_bytes),
        )

    def _warm(self, digests: Iterable[str]) -> None:
        for digest in digests:
            try:
                self._store.warm(digest)
            except VicoError as error:
                logger.warning("could not be loaded ahead: %s", error)

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # a full disk, say: the next look may do better
                logger.exception("the operator's wishes could not be followed")
            if self._stop.wait(self._interval_seconds):
                return
