"""What a person sees while a test runs: a table that stays in place, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from vico_client.loadtest.histogram import Histogram
from vico_client.loadtest.job import Progress

_RECENT_SECONDS = 10.0
_LINE_SECONDS = 5.0


class Watch:
    """Adds up what the sending processes tell."""

    def __init__(self, duration: float) -> None:
        self._duration = duration
        self._start: float | None = None
        self._latencies = Histogram()
        self._errors: Counter[str] = Counter()
        self._sent = self._ended = 0
        self._lateness = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def start(self, instant: float) -> None:
        """`time.monotonic()` of the test's start."""
        self._start = instant

    def add(self, progress: Progress) -> None:
        """What one process did since it last told."""
        self._sent += progress.sent
        self._ended += progress.ended
        self._errors.update(progress.errors)
        self._latencies.add(progress.histogram)
        self._lateness = max(self._lateness, progress.lateness)
        self._recent.append((time.monotonic(), progress.ended))

    def tick(self) -> None:
        """Show how it stands; called about ten times a second."""

    def cells(self) -> dict[str, str]:
        """How it stands, as text by title."""
        now = time.monotonic()
        elapsed = max(0.0, now - (self._start or now))
        while self._recent and self._recent[0][0] < now - _RECENT_SECONDS:
            self._recent.popleft()
        rate = sum(count for _, count in self._recent) / min(max(elapsed, 1.0), _RECENT_SECONDS)
        errors = ", ".join(f"{name} {count}" for name, count in self._errors.most_common()) or "none"
        return {
            "time": f"{elapsed:.0f} of {self._duration:.0f} s",
            "sent": str(self._sent),
            "in flight": str(self._sent - self._ended),
            "answers/s": f"{rate:.2f}",
            **dict(zip(("p50", "p95", "p99"), map(_seconds, self._latencies.percentiles([50, 95, 99])))),
            "errors": errors,
            "late by": _seconds(self._lateness),
        }


class _Lines(Watch):
    def __init__(self, duration: float, console: Console) -> None:
        super().__init__(duration)
        self._console = console
        self._next = 0.0

    def tick(self) -> None:
        if self._start is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            text = " | ".join(f"{title} {value}" for title, value in self.cells().items())
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class _Panel(Watch):
    def __init__(self, duration: float, live: Live) -> None:
        super().__init__(duration)
        self._live = live

    def tick(self) -> None:
        self._live.update(table(self.cells()))


def table(cells: dict[str, str]) -> Table:
    """One row, titles above it."""
    shown = Table(title_justify="left", header_style="dim")
    for title in cells:
        shown.add_column(title, justify="right", style="red" if title == "errors" and cells[title] != "none" else "")
    shown.add_row(*cells.values())
    return shown


@contextmanager
def watching(duration: float, *, quiet: bool = False) -> Iterator[Watch]:
    """A view on standard error: table, lines, or (quiet) nothing. duration: seconds planned."""
    console = Console(stderr=True)
    if quiet:
        yield Watch(duration)
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            yield _Panel(duration, live)
    else:
        watch = _Lines(duration, console)
        yield watch


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"
