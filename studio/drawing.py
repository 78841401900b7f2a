"""Several pictures at once, watched: what every column shows at every moment."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from vico_client import Picture, PictureStream, Preview, Progress, VicoClientError

from studio.errors import Problem, problem_of
from studio.markup import data_url, jpeg_url
from studio.wish import Wish


class Streams(Protocol):
    """`vico_client.Client`, as far as it is asked here."""

    @property
    def stream(self) -> Callable[..., PictureStream]:
        """See `vico_client.Client.stream`."""


@dataclass(frozen=True)
class Column:
    """One picture on its way. picture: a data URL, coarse until `done`. seconds_left: None = nobody knows."""

    wish: Wish
    fraction: float = 0.0
    seconds_left: float | None = None
    picture: str = ""
    done: bool = False
    problem: Problem | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.done or self.problem is not None


_Change = tuple[int, dict[str, object]]


class Drawing:
    """Several wishes under way; iterate over it once, `cancel` it from any thread."""

    def __init__(self, client: Streams, wishes: Sequence[Wish]) -> None:
        self._wishes = tuple(wishes)
        self._streams = [client.stream(wish.prompt, **wish.options()) for wish in wishes]

    def __iter__(self) -> Iterator[tuple[Column, ...]]:
        """All columns whenever something changed, the last time when all are over. Leaving early frees the server."""
        columns = [Column(wish) for wish in self._wishes]
        changes: queue.SimpleQueue[_Change] = queue.SimpleQueue()
        for number, stream in enumerate(self._streams):
            threading.Thread(target=_follow, args=(stream, number, changes), daemon=True).start()
        try:
            yield tuple(columns)
            while not all(column.over for column in columns):
                _apply(columns, changes.get())
                while not changes.empty():
                    # the page need not see every report
                    _apply(columns, changes.get())
                yield tuple(columns)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Give up what is not over; those columns end as stopped."""
        for stream in self._streams:
            stream.cancel()


def _apply(columns: list[Column], change: _Change) -> None:
    number, values = change
    columns[number] = replace(columns[number], **values)  # type: ignore[arg-type]


def _follow(stream: PictureStream, number: int, changes: queue.SimpleQueue[_Change]) -> None:
    over: dict[str, object] = {"problem": Problem("picture", "none came", "try again")}
    try:
        for event in stream:
            if isinstance(event, Progress):
                changes.put((number, {"fraction": event.fraction, "seconds_left": event.seconds_left}))
            elif isinstance(event, Preview):
                changes.put((number, {"picture": jpeg_url(event.image)}))
            elif isinstance(event, Picture):
                over = {"picture": data_url(bytes(event.file), "png"), "done": True, "fraction": 1.0}
    except VicoClientError as error:
        over = {"problem": problem_of(error)}
    finally:
        changes.put((number, over))
