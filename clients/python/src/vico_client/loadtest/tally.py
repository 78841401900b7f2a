"""Counts of one sending process between two words to the parent."""

from __future__ import annotations

from collections import Counter

from vico_client.loadtest.histogram import Histogram
from vico_client.loadtest.job import Progress
from vico_client.loadtest.records import Record


class Tally:
    """Counts until `progress` takes them away."""

    def __init__(self) -> None:
        self._sent = self._ended = 0
        self._lateness = 0.0
        self._errors: Counter[str] = Counter()
        self._latencies = Histogram()

    def sent(self, lateness: float) -> None:
        """A request goes out, `lateness` seconds after it was due."""
        self._sent += 1
        self._lateness = max(self._lateness, lateness)

    def ended(self, record: Record) -> None:
        """A request was answered or failed."""
        self._ended += 1
        if record.ok:
            self._latencies.record(record.latency)
        else:
            self._errors[record.error] += 1

    def progress(self) -> Progress:
        """The counts since the last call."""
        told = Progress(self._sent, self._ended, dict(self._errors), self._latencies.encode(), self._lateness)
        self._sent = self._ended = 0
        self._lateness = 0.0
        self._errors, self._latencies = Counter(), Histogram()
        return told
