"""What the page asks for, without the page: every callback of the layout is one method here."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vico_client import ConceptList, VicoClientError

from studio.drawing import Column, Drawing, Streams
from studio.history import Entry, entry_of
from studio.markup import thumbnail_url
from studio.registry import Known, Registry
from studio.wish import Wish, variants
from studio.workshop import Workshop

_LIST_SECONDS = 10.0


class Pictures(Streams, Protocol):
    """`vico_client.Client`, as far as the studio asks it."""

    def concepts(self, pattern: str = "*", *, timeout: float | None = None) -> ConceptList:
        """See `vico_client.Client.concepts`."""


@dataclass(frozen=True)
class Studio:
    """Everything behind the page. address, gateway: as the copied code names them."""

    workshop: Workshop
    client: Pictures
    registry: Registry
    address: str
    gateway: str
    _drawings: dict[str, Drawing] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def concept_names(self) -> list[str]:
        """What can be chosen; what is in this folder alone while the server does not answer."""
        try:
            return [concept.name for concept in self.client.concepts(timeout=_LIST_SECONDS)]
        except VicoClientError:
            return []

    def known(self, names: Sequence[str]) -> list[Known]:
        """What is known of these concepts; an alias is followed where the server can be asked."""
        found = []
        for name in names:
            known = self.registry.known(name)
            found.append(known if known.found else self.registry.known(name, self._version(name)))
        return found

    def draw(self, session: str, wish: Wish, names: Sequence[str], *, plain: bool) -> Iterator[tuple[Column, ...]]:
        """The wish for each concept and the plain base, as columns that fill up; ends what the session drew before.

        Raises:
            StudioError: the wish is not complete.
        """
        drawing = Drawing(self.client, variants(wish, self.known(names), plain=plain))
        self.stop(session)
        with self._lock:
            self._drawings[session] = drawing
        try:
            yield from drawing
        finally:
            with self._lock:
                if self._drawings.get(session) is drawing:
                    del self._drawings[session]

    def stop(self, session: str) -> None:
        """End what a session draws, if it draws."""
        with self._lock:
            drawing = self._drawings.pop(session, None)
        if drawing is not None:
            drawing.cancel()

    def _version(self, name: str) -> str:
        try:
            versions = {concept.name: concept.version for concept in self.client.concepts(name, timeout=_LIST_SECONDS)}
        except VicoClientError:
            return ""
        return versions.get(name, "")


def entries(columns: Sequence[Column]) -> list[Entry]:
    """For the history: what was finished."""
    return [entry_of(column.wish, thumbnail_url(column.picture)) for column in columns if column.done]
