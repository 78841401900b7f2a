"""The server's Prometheus metrics, read along: one JSON line per scrape, `{"at": seconds, "values": {name: value}}`.

A name carries its labels (`nv_inference_request_success{model="vico"}`). Buckets of histograms are left out: their sums
and counts give the means that the report draws.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.storage import open_lines, read_lines

_PREFIXES = ("nv_inference_", "vico_")
_TIMEOUT = 5.0  # seconds for one scrape


@dataclass(frozen=True)
class Sample:
    """at: seconds from the start; values: by name with labels."""

    at: float
    values: dict[str, float]


def metrics_url(address: str) -> str:
    """`host:port`, or a whole URL."""
    if "://" in address and not address.startswith(("http://", "https://")):
        raise LoadTestError(f"{address!r}", field="metrics", hint="host:port, or an http URL")
    return address if "://" in address else f"http://{address}/metrics"


def scrape(url: str) -> dict[str, float]:
    """The values now; OSError or ValueError if there is no Prometheus page at the URL."""
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as page:
        return parse(page.read().decode())


def parse(text: str) -> dict[str, float]:
    """Values by name with labels, of Triton's and ViCo's metrics; buckets left out."""
    return {
        _name(sample): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(_PREFIXES) and not sample.name.endswith(("_bucket", "_created"))
    }


def _name(sample: Any) -> str:
    labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else str(sample.name)


@contextmanager
def scraping(url: str | None, path: Path, start: float, interval: float) -> Iterator[None]:
    """While the block runs, write a sample to `path` every `interval` seconds; start: `time.monotonic()` of time 0."""
    ended = threading.Event()

    def go_on() -> None:
        with open_lines(path) as lines:
            while True:
                lines.write(_line(str(url), start))
                if ended.wait(interval):
                    return

    thread = threading.Thread(target=go_on, daemon=True)
    if url:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if url:
            thread.join(timeout=2 * _TIMEOUT)


def _line(url: str, start: float) -> str:
    try:
        sample: dict[str, Any] = {"values": scrape(url)}
    except (OSError, ValueError) as error:
        sample = {"error": type(error).__name__}
    return json.dumps({"at": time.monotonic() - start, **sample}) + "\n"


def read_samples(folder: Path) -> list[Sample]:
    """The samples of a test's folder; scrapes that failed are left out."""
    path = folder / "metrics.jsonl"
    lines = read_lines([path]) if path.exists() else iter(())
    return [Sample(line["at"], line["values"]) for line in lines if "values" in line]
