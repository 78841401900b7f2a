"""Traces: nothing while they are off; one connected tree while they are on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from test_serving_adapter import PB, FakeRequest, FakeTensor
from test_serving_stages import CALLER, Server, _array
from test_stream_stage import stage_call

from serving.deferred_adapter import DeferredAdapter
from serving.errors import LaunchError
from serving.stages.names import NESTED
from serving.telemetry import traces
from serving.telemetry.notes import Notes, taking
from serving.telemetry.otel import OtelTraces
from serving.telemetry.stage import StageTelemetry
from serving.telemetry.traces import NO_SPAN, NO_TRACES, TRACEPARENT, open_traces, trace_to
from serving.triton_adapter import TritonAdapter

ROOT = Path(__file__).parents[3]
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> OtelTraces:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return OtelTraces(provider)


@pytest.fixture(autouse=True)
def _off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in traces._SWITCHES:
        monkeypatch.delenv(name, raising=False)


def asked(parent: str = PARENT, **fields: Any) -> FakeRequest:
    tensors = {"caller": CALLER} | {name: _array(value) for name, value in fields.items()}
    said = json.dumps({TRACEPARENT: parent}) if parent else ""
    return FakeRequest([FakeTensor(name, array) for name, array in tensors.items()], "r-1", said=said)


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace, and parent in it."""
    assert span.parent is not None
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}"


def test_a_stage_is_a_span_under_the_front_doors(
    tmp_path: Path, tracing: OtelTraces, spans: InMemorySpanExporter
) -> None:
    adapter = TritonAdapter(PB, Server(tmp_path).text, StageTelemetry("text_encoder", traces=tracing))
    adapter.execute([asked(prompt="a secret"), asked(prompt="a secret", steps=0), asked("", prompt="a secret")])
    good, bad = spans.get_finished_spans()
    for span in (good, bad):
        assert span.name == "text_encoder"
        assert ids(span) == ("a" * 32, "b" * 16)
        assert span.attributes is not None
        assert span.attributes["vico.request_id"] == "r-1"
        assert "secret" not in span.to_json()
    assert good.status.status_code is StatusCode.UNSET
    assert (bad.status.status_code, bad.status.description) == (StatusCode.ERROR, "INVALID_ARGUMENT")


def test_prompts_are_in_no_span_even_where_they_are_logged(
    tmp_path: Path, tracing: OtelTraces, spans: InMemorySpanExporter
) -> None:
    telemetry = StageTelemetry("text_encoder", log_prompts=True, traces=tracing)
    TritonAdapter(PB, Server(tmp_path).text, telemetry).execute([asked(prompt="a secret")])
    [span] = spans.get_finished_spans()
    assert "secret" not in span.to_json()


def test_the_loop_has_spans_for_queue_and_steps(
    tmp_path: Path, tracing: OtelTraces, spans: InMemorySpanExporter
) -> None:
    server = Server(tmp_path)
    tensors = server.tensors(prompt="a")

    class Deferred(FakeRequest):
        def get_response_sender(self) -> Any:
            return type("Sender", (), {"send": lambda *_, **__: None})()

    request = Deferred(
        [FakeTensor(name, array) for name, array in tensors.items()], said=json.dumps({TRACEPARENT: PARENT})
    )
    adapter = DeferredAdapter(PB, server.loop, StageTelemetry("unet_loop", traces=tracing))
    adapter.begin([request])
    adapter.close()
    queue, steps, loop = spans.get_finished_spans()
    assert (queue.name, steps.name, loop.name) == ("queue", "steps", "unet_loop")
    assert ids(loop) == ("a" * 32, "b" * 16)
    for part in (queue, steps):
        assert ids(part) == ("a" * 32, f"{loop.context.span_id:016x}")
    times = [at or 0 for at in (loop.start_time, queue.start_time, queue.end_time, steps.start_time, steps.end_time)]
    assert times == sorted(times)
    assert queue.end_time == steps.start_time


def test_a_stage_that_another_one_calls_is_its_child() -> None:
    call, made = stage_call(None)
    with taking(Notes("r-1", PARENT)):
        call({}, ("y",))
    call({}, ("y",))
    assert [request["parameters"] for request in made] == [{NESTED: True, TRACEPARENT: PARENT}, {NESTED: True}]
    assert [request["request_id"] for request in made] == ["r-1", ""]


@pytest.mark.parametrize("parent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_without_a_valid_parent_a_trace_begins(tracing: OtelTraces, spans: InMemorySpanExporter, parent: str) -> None:
    span = tracing.begin("request vico", parent, serves=True)
    assert len(span.traceparent) == 55
    span.end({"images": 2, "what": object()}, (), "")
    [ended] = spans.get_finished_spans()
    assert ended.parent is None
    assert dict(ended.attributes or {}) == {"vico.images": 2}


def test_off_is_nothing() -> None:
    assert open_traces() is NO_TRACES
    assert NO_TRACES.begin("x", PARENT) is NO_SPAN
    assert NO_SPAN.traceparent == ""
    code = (
        "import sys; from serving.telemetry.traces import open_traces; open_traces(); "
        "import serving.front.__main__, serving.stages.text_encoder, serving.triton_adapter; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_wanted_and_not_installed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    trace_to(None)
    monkeypatch.setattr(traces, "find_spec", lambda _: None)
    trace_to(None)
    monkeypatch.setenv(traces.ENDPOINT, "")
    with pytest.raises(LaunchError, match=r"otlp_endpoint: .*pip install 'vico\[otel\]'"):
        trace_to("http://127.0.0.1:4318")


def test_the_endpoint_switches_traces_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(traces.ENDPOINT, "")
    trace_to("http://127.0.0.1:9")
    assert isinstance(open_traces(), OtelTraces)
