"""What operators see of the real server: one page of metrics, one trace of a request, a log without prompts."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from served import Answer, Caller, Served, _array, spawn, wait_until
from streamed import stream
from vico_client.loadtest.scrape import Sample, scrape
from vico_client.loadtest.timeline import panels

from serving.telemetry import catalogue as of

if TYPE_CHECKING:
    from conftest import Exported

SECRET = "zebra umbrella"
"""In every prompt; in no log and no span."""
WAIT = 240.0
UNARY = {"request vico", "text_encoder", "image_encoder", "unet_loop", "queue", "steps", "vae_decoder"}
STREAM = UNARY - {"request vico"} | {"request vico_stream", "picture_stream"}


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    text: str


@dataclass
class Collector:
    """Takes spans by OTLP over HTTP."""

    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    Span(s.name, s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex(), str(s)) for s in scope.spans
                ]

    def trace(self, trace: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace == trace]


@dataclass(frozen=True)
class Watched:
    """A server, where its metrics are, and where its spans go to."""

    served: Served
    metrics: str
    collector: Collector

    def values(self) -> dict[str, float]:
        return scrape(f"http://{self.metrics}/metrics")


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, int]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield collector, server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def watched(
    exported: Exported, collector: tuple[Collector, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    registry = folder / "registry"
    registry.mkdir()
    exported.make_concept(registry, "toy")
    spans, port = collector
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        patch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        process = spawn(exported.folder, registry, folder / "log", "--otlp-endpoint", f"http://127.0.0.1:{port}")
    assert process.stdout is not None
    found = re.match(r"ready: gRPC (\S+), metrics (\S+)", process.stdout.readline())
    assert found, (folder / "log").read_text()
    served = Served(process, found[1], registry, folder / "log")
    yield Watched(served, found[2], spans)
    assert served.stop() == 0, served.log()


def require_connected(spans: list[Span], root_parent: str) -> None:
    ids = {span.id for span in spans}
    roots = [span for span in spans if span.parent not in ids]
    assert [span.parent for span in roots] == [root_parent]
    assert roots[0].name.startswith("request vico")


def test_a_request_is_one_trace_from_the_door_to_the_decoder(watched: Watched) -> None:
    trace, parent = "1" * 31 + "a", "b" * 16
    caller = Caller(watched.served.address, headers={"traceparent": f"00-{trace}-{parent}-01"})
    caller(prompt=f"a * {SECRET}", concept="toy", steps=2)
    assert wait_until(lambda: {span.name for span in watched.collector.trace(trace)} >= UNARY, WAIT)
    spans = watched.collector.trace(trace)
    assert sorted(span.name for span in spans) == sorted(UNARY)
    require_connected(spans, parent)
    by_name = {span.name: span for span in spans}
    for stage in ("text_encoder", "image_encoder", "unet_loop", "vae_decoder"):
        assert by_name[stage].parent == by_name["request vico"].id
    assert by_name["steps"].parent == by_name["queue"].parent == by_name["unet_loop"].id
    assert not [span for span in spans if "zebra" in span.text]


def test_a_stream_is_one_trace_too(watched: Watched) -> None:
    seen = {span.trace for span in watched.collector.spans}
    assert stream(watched.served.address, prompt=f"a * {SECRET}", concept="toy", steps=2)[-1].kind == "end"

    def spans() -> list[Span]:
        return [span for span in list(watched.collector.spans) if span.trace not in seen]

    assert wait_until(lambda: {span.name for span in spans()} >= STREAM, WAIT)
    assert len({span.trace for span in spans()}) == 1
    require_connected(spans(), "")
    by_name = {span.name: span for span in spans()}
    assert by_name["unet_loop"].parent == by_name["vae_decoder"].parent == by_name["picture_stream"].id


def test_the_log_has_the_request_in_every_process_and_no_prompt(watched: Watched) -> None:
    caller = Caller(watched.served.address)
    caller.send("vico", fields(prompt=f"a * {SECRET}", concept="toy", steps=1), request_id="mine-1")
    refused = caller.send("vico", fields(prompt=f"* * {SECRET}", concept="toy"), request_id="mine-2")

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in watched.served.log().splitlines()]

    def stages(request_id: str) -> set[str]:
        return {line["stage"] for line in lines() if line.get("request_id") == request_id and "stage" in line}

    everything = {"front", "text_encoder", "image_encoder", "unet_loop", "vae_decoder"}
    assert wait_until(lambda: stages("mine-1") == everything and stages("mine-2") == {"front", "text_encoder"}, WAIT)
    for line in lines():
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
    of_mine = [line for line in lines() if line.get("request_id") == "mine-1"]
    assert {line["ending"] for line in of_mine} == {"done"}
    assert all(re.fullmatch(r"toy@[0-9a-f]{64}", line["concept"]) for line in of_mine if line["stage"] != "front")
    assert "zebra" not in watched.served.log() + str(refused)


def fields(**given: Any) -> dict[str, Any]:
    return {name: _array(name, value) for name, value in given.items()}


def test_one_page_has_everything_and_the_load_generator_finds_its_series(watched: Watched) -> None:
    caller = Caller(watched.served.address)
    before = watched.values()
    caller(prompt=f"a * {SECRET}", concept="toy", steps=2)
    assert wait_until(lambda: watched.values()["vico_feature_hits_total"] > 0, WAIT)
    after = watched.values()
    names = {name.partition("{")[0] for name in after}
    declared = {series for metric in of.CATALOGUE for series in metric.series if not series.endswith("_bucket")}
    assert declared <= names
    assert {name for name in names if name.startswith("vico_")} <= declared
    assert "nv_inference_request_success_total" in names
    grown = {name: after[name] - before[name] for name in after if after[name] > before.get(name, 0)}
    assert grown["vico_queue_seconds_count"] >= 1
    assert grown["vico_step_seconds_count"] >= 2
    assert grown['vico_request_seconds_count{ending="done"}'] >= 1
    assert grown['vico_front_requests_total{status="OK"}'] == 1
    assert after["vico_ready"] == after["vico_triton_up"] == 1
    assert after["vico_slot_bytes"] > 0
    shown = {panel.title: panel.lines for panel in panels([Sample(0.0, before), Sample(1.0, after)])}
    assert [title for title, lines in shown.items() if not lines] == []


def test_a_killed_stage_is_counted_and_sets_nothing_back(watched: Watched) -> None:
    caller = Caller(watched.served.address)
    caller(prompt="a", steps=1)
    before = watched.values()
    done = 'vico_stage_seconds_count{stage="vae_decoder"}'
    os.kill(watched.served.stages()["vae_decoder"], signal.SIGKILL)
    restarts = 'vico_restarts_total{part="vae_decoder"}'
    assert wait_until(lambda: watched.values()[restarts] == 1, WAIT)
    assert wait_until(lambda: watched.values()["vico_ready"] == 1, WAIT)
    assert watched.values()[done] >= before[done] > 0
    assert wait_until(lambda: isinstance(caller.ask(prompt="a", steps=1), Answer), WAIT)
    assert wait_until(lambda: watched.values()[done] > before[done], WAIT)
