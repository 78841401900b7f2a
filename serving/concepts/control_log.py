"""Control documents in a registry: every revision is a file of its own, written once, so that two writers cannot lose
each other's change and a reader never meets half of one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from serving.concepts.control import Control
from serving.concepts.source import CONTROL_FOLDER, MAX_DOCUMENT_BYTES, Source
from serving.errors import ConceptNotFound, RegistryUnreachable
from vico.errors import ConceptError

KEPT = 16
"""Revisions that stay: what to look at after a mistake."""
_ATTEMPTS = 20
_DOCUMENT = re.compile(rf"{re.escape(CONTROL_FOLDER)}/(\d{{12}})\.json")

logger = logging.getLogger("vico.serving")


class ControlLog:
    """The newest readable revision. Safe to use from several threads.

    A document that cannot be read changes nothing: the revision before it goes on.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._control = Control()
        self._seen = ""
        self._lock = Lock()

    @property
    def newest(self) -> Control:
        """What was read last; without a look."""
        return self._control

    def current(self) -> Control:
        """What holds now, as far as the source has been looked at."""
        return self._look()[0]

    def change(self, step: Callable[[Control], Control]) -> Control:
        """Write the next revision; somebody else's change in between is taken into account, never overwritten.

        Args:
            step: from the state now to the next; called again if someone else was quicker. Equal: nothing is written.

        Raises:
            VicoError: what `step` raises; or the registry cannot be reached.
        """
        for _ in range(_ATTEMPTS):
            self._source.poll()
            if not self._source.reachable:
                raise RegistryUnreachable("registry", "cannot be reached now", "the same command later")
            now, highest = self._look()
            after = replace(step(now), revision=highest + 1)
            if replace(after, revision=now.revision) == now:
                return now
            document = after.to_json().encode()
            if len(document) > MAX_DOCUMENT_BYTES:
                raise ConceptError("registry", "too many wishes and removed versions", f"{MAX_DOCUMENT_BYTES} bytes")
            try:
                self._source.create(_name(after.revision), document)
            except FileExistsError:
                continue
            self._tidy()
            return after
        raise RegistryUnreachable("registry", "others change it all the time", "the same command later")

    def _look(self) -> tuple[Control, int]:
        """What holds now, and the highest revision, which need not be readable; from one look: a revision that comes
        right after it must not be mistaken for one that was taken into account."""
        with self._lock:
            names = self._documents()
            newest = names[-1] if names else ""
            if newest != self._seen:
                if newest < self._seen:
                    # only the oldest are ever cleared away: somebody emptied the registry, and begins anew
                    self._control = Control()
                self._control = self._newest_readable(names)
                self._seen = newest
            return self._control, _number(newest) if newest else 0

    def _documents(self) -> list[str]:
        return sorted(name for name in self._source.names(CONTROL_FOLDER) if _DOCUMENT.fullmatch(name))

    def _newest_readable(self, names: list[str]) -> Control:
        for name in reversed(names):
            try:
                control = replace(Control.from_json(self._source.read(name)), revision=_number(name))
            except (ConceptError, FileNotFoundError, ConceptNotFound):
                logger.error("a control document is malformed: the revision before it goes on")
                continue
            # what was read before never makes way for something older
            return control if control.revision >= self._control.revision else self._control
        return self._control

    def _tidy(self) -> None:
        for name in self._documents()[:-KEPT]:
            self._source.delete(name)


def _number(name: str) -> int:
    return int(name[-len("000000000000.json") : -len(".json")])


def _name(revision: int) -> str:
    return f"{CONTROL_FOLDER}/{revision:012d}.json"
