"""Beside the requests of the first stage: looks at the registry now and then, and fetches what will be asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from threading import Event, Thread

from serving.concepts.registry import Registry
from serving.concepts.source import SUFFIX, VERSIONS_FOLDER, Stamp
from serving.concepts.wishes import FileState, Wishes, write_files, write_wishes
from serving.errors import ConceptLoading, Overloaded, RegistryUnreachable
from vico.errors import VicoError

logger = logging.getLogger("vico.serving")


class Watcher:
    """Every `interval_seconds`: polls, mirrors an object store as far as there is room, and passes the wishes on.

    Args:
        registry: what it works for.
        interval_seconds: between two looks.
    """

    def __init__(self, registry: Registry, interval_seconds: float) -> None:
        self._registry = registry
        self._interval_seconds = interval_seconds
        self._stood_for: dict[str, str] = {}
        self._complaints: dict[str, str] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> Watcher:
        """Begin; the first look is taken at once, beside the caller."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()
        self._registry.loader.close()

    def look(self) -> None:
        """One look."""
        self._registry.poll()
        wishes = self._wishes()
        self._registry.loader.pinned = frozenset(wishes.pinned)
        if not self._registry.source.live:
            self._mirror()
        store = self._registry.loader.store
        for digest in wishes.removed:
            store.discard(digest)
        write_wishes(store.folder, wishes)
        write_files(store.folder, self._files())

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # a full disk, say: the next look may do better
                logger.exception("the registry could not be looked at")
            if self._stop.wait(self._interval_seconds):
                return

    def _mirror(self) -> None:
        """Fetch ahead of requests: what is known and has changed, then new files while nothing must leave for them."""
        known = self._registry.entries()
        free = self._registry.loader.free_bytes
        for name, stamp in self._packages():
            if name not in known:
                free -= stamp.size_bytes
                if free < 0:
                    continue
            self._registry.refresh(name)

    def _packages(self) -> Iterable[tuple[str, Stamp]]:
        for folder in (VERSIONS_FOLDER, ""):
            yield from (item for item in self._registry.source.names(folder).items() if item[0].endswith(SUFFIX))

    def _wishes(self) -> Wishes:
        control, _ = self._registry.control()
        return Wishes(self._digests(control.pinned), self._digests(control.prefetched), tuple(sorted(control.removed)))

    def _digests(self, names: Iterable[str]) -> tuple[str, ...]:
        """What the names stand for, or stood for when the registry answered last; what is not there is left out."""
        found = []
        for name in names:
            try:
                self._stood_for[name] = self._registry.resolve(name).head.digest
            except (RegistryUnreachable, ConceptLoading, Overloaded):
                # what it stood for stays wanted: an outage unpins nothing
                pass
            except VicoError as error:
                self._stood_for.pop(name, None)
                self._complain(name, str(error))
            if name in self._stood_for:
                found.append(self._stood_for[name])
        return tuple(dict.fromkeys(found))

    def _complain(self, name: str, problem: str) -> None:
        if self._complaints.get(name) != problem:
            self._complaints[name] = problem
            logger.warning("wished for %r: %s", name, problem)

    def _files(self) -> dict[str, FileState]:
        return {
            entry.concept_id: FileState(
                entry.current.digest if entry.current else "", entry.error.problem if entry.error else ""
            )
            for entry in self._registry.entries().values()
            if not entry.digest
        }
