"""Latencies in HDR histograms: three significant digits from 1 µs to an hour, merged across processes without loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hdrh.histogram import HdrHistogram

_LOWEST, _HIGHEST, _DIGITS = 1, 3_600_000_000, 3  # microseconds


class Histogram:
    """A HDR histogram of durations in seconds."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._values = HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)
        for value in seconds:
            self.record(value)

    def record(self, seconds: float) -> None:
        """Add one duration; what is out of range counts at its edge."""
        self._values.record_value(min(max(round(seconds * 1e6), _LOWEST), _HIGHEST))

    def encode(self) -> str:
        """In HdrHistogram's own compressed form (V2, base64), readable by its libraries in other languages."""
        return str(self._values.encode().decode())

    def add(self, encoded: str) -> None:
        """Add all durations of another histogram in encoded form."""
        self._values.decode_and_add(encoded.encode())

    @property
    def count(self) -> int:
        """Durations recorded."""
        return int(self._values.get_total_count())

    def percentile(self, percent: float) -> float | None:
        """Seconds; None if nothing was recorded."""
        return self.percentiles([percent])[0]

    def percentiles(self, percents: Sequence[float]) -> list[float | None]:
        """As `percentile`, for several in one pass over the histogram; in rising order."""
        if not self.count:
            return [None] * len(percents)
        found = self._values.get_percentile_to_value_dict(list(percents))
        return [found[percent] / 1e6 for percent in percents]

    def maximum(self) -> float | None:
        """Seconds; None if nothing was recorded."""
        return self._values.get_max_value() / 1e6 if self.count else None
