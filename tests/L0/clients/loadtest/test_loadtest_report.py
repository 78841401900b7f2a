"""The page, its plots and the metrics in them."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recorded import a_test, end, failure, record, run, write_folder
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.report import write_report
from vico_client.loadtest.scrape import Sample, metrics_url, parse, read_samples, scraping
from vico_client.loadtest.timeline import panels, timeline
from vico_client.loadtest.verdict import Goals

METRICS = """\
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="vico",reason="REJECTED",version="1"} 3
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="vico",version="1"} 2
# TYPE vico_step_seconds histogram
vico_step_seconds_bucket{le="+Inf"} 4
vico_step_seconds_sum 2.0
vico_step_seconds_count 4
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 9
"""
PLOTS = ("latency-cdf", "requests", "goodput", "throughput-latency", "server")


@pytest.fixture
def metrics_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_page_is_one_file_that_asks_the_network_for_nothing(tmp_path: Path) -> None:
    message = "<script>alert(1)</script>"
    records = [record(0), record(1, 3.0), failure(2, "ServerError", "INTERNAL", scheduled=4.0)]
    records.append(record(3, 5.0, error="Overloaded", status="RESOURCE_EXHAUSTED", message=message))
    write_folder(tmp_path, a_test(records))
    write_report(tmp_path, Goals())
    page = (tmp_path / "report.html").read_text()
    for reference in ('src="', 'href="', "url("):
        assert all(piece.startswith("data:image/svg+xml;base64,") for piece in page.split(reference)[1:])
    assert message not in page
    assert "&lt;script&gt;" in page
    assert "Failed." in page


@pytest.mark.parametrize(
    "records",
    [[], [record()], [failure(0, "Overloaded", "X")], [record(number, number / 10) for number in range(500)]],
    ids=["none", "one", "only errors", "many"],
)
def test_every_plot_is_a_picture(tmp_path: Path, records: list[object]) -> None:
    write_folder(tmp_path, a_test(records))
    write_report(tmp_path, Goals())
    for name in PLOTS:
        picture = Image.open(io.BytesIO((tmp_path / f"{name}.png").read_bytes()))
        assert picture.width > 800
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # not blank


def test_a_test_that_never_ended_is_reported(tmp_path: Path) -> None:
    write_folder(tmp_path, a_test([record()], end=None))
    assert not write_report(tmp_path, Goals()).verdict.passed


def test_a_test_that_was_stopped_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path, a_test([record()], end=end(interrupted=True), run=run(planned=7)))
    write_report(tmp_path, Goals())
    assert "6 planned requests were not sent" in (tmp_path / "report.html").read_text()


def test_the_timeline_adds_up() -> None:
    records = [record(number, number * 0.5, 2.0) for number in range(20)]
    records += [failure(20, "Overloaded", "X", scheduled=1.0), failure(21, "ServerError", "X", scheduled=2.0)]
    line = timeline(a_test(records))
    width = np.diff(line.edges)
    for series, count in ((line.offered, 22), (line.answered, 20), (line.refused, 1), (line.failed, 1)):
        assert (series * width).sum() == pytest.approx(count)
    assert (line.in_flight * width).sum() == pytest.approx(20 * 2.0 + 2 * 1.0)  # request-seconds
    assert np.nanmax(line.lanes) == 3


def test_metrics_are_parsed_without_buckets_and_strangers() -> None:
    assert parse(METRICS) == {
        'nv_inference_request_failure_total{model="vico",reason="REJECTED",version="1"}': 3.0,
        'nv_inference_pending_request_count{model="vico",version="1"}': 2.0,
        "vico_step_seconds_sum": 2.0,
        "vico_step_seconds_count": 4.0,
    }


def test_the_server_is_scraped_along(tmp_path: Path, metrics_server: str) -> None:
    path = tmp_path / "metrics.jsonl"
    with scraping(metrics_url(metrics_server), path, 0.0, 0.01):
        _until(lambda: path.exists() and path.read_text().count("\n") >= 3)
    samples = read_samples(tmp_path)
    assert len(samples) >= 3
    assert samples[0].values == parse(METRICS)
    assert samples[0].at < samples[-1].at


def test_a_server_without_metrics_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with scraping("http://127.0.0.1:9/metrics", path, 0.0, 0.01):
        _until(lambda: path.exists() and "\n" in path.read_text())
    assert "error" in json.loads(path.read_text().splitlines()[0])
    assert read_samples(tmp_path) == []


def _until(condition: object, seconds: float = 60.0) -> None:
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():  # type: ignore[operator]
            return
        waited.wait(0.02)
    raise AssertionError("never")


def test_panels_find_the_metrics_whatever_their_exact_names() -> None:
    samples = [
        Sample(float(k), {
            "vico_queue_requests": float(k), "vico_queue_seconds_sum": k * 0.5, "vico_queue_seconds_count": float(k),
            "vico_lanes_used": 2.0, "vico_concept_swaps_total": 3.0 * k, 'vico_refusals_total{reason="queue"}': 0.0,
        })
        for k in range(4)
    ]  # fmt: skip
    lines = {panel.title: panel.lines for panel in panels(samples)}
    assert list(lines["Waiting in the server"]["vico_queue_requests"][1]) == [0, 1, 2, 3]
    assert list(lines["Time in the queue"]["vico_queue_seconds_sum"][1]) == [0.5, 0.5, 0.5]
    assert list(lines["Lanes in use"]) == ["vico_lanes_used"]
    assert list(lines["Concept swaps"]["vico_concept_swaps_total"][1]) == [3, 3, 3]
    assert list(lines["Refusals"]) == ["always 0"]
    assert lines["Time of a step"] == {}  # the panel says that there is no such metric


def test_addresses_of_metrics() -> None:
    assert metrics_url("host:8002") == "http://host:8002/metrics"
    assert metrics_url("https://host/m") == "https://host/m"
    with pytest.raises(LoadTestError, match="metrics"):
        metrics_url("ftp://host")
