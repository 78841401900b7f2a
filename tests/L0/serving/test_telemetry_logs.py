"""Logs: one object a line with the request's id, and no word of a prompt unless the operator asks for it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_serving_adapter import PB, FakeRequest, FakeTensor
from test_serving_stages import CALLER, Server, _array

from serving.config import ServingConfig
from serving.outputs.checker_process import _answer
from serving.telemetry.config import TelemetryConfig, resolved_format
from serving.telemetry.logs import configure_logs, formatter
from serving.telemetry.notes import Notes, note_texts, taking
from serving.telemetry.redaction import HIDDEN
from serving.telemetry.stage import StageTelemetry
from serving.triton_adapter import TritonAdapter
from serving.triton_log import TritonLog
from tests.helpers.concepts import make_concept

SECRET = 'red "Mrs Dalloway"\nat a photo'
"""Words with what JSON and repr write in another way."""


class Log:
    """Everything that was logged, as the handler wrote it."""

    def __init__(self, config: TelemetryConfig) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(formatter(config))

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def logged(request: pytest.FixtureRequest) -> Iterator[Log]:
    log = Log(getattr(request, "param", TelemetryConfig("json")))
    root, level = logging.getLogger("vico"), logging.getLogger("vico").level
    root.addHandler(log.handler)
    root.setLevel(logging.INFO)
    yield log
    root.removeHandler(log.handler)
    root.setLevel(level)


def asked(request_id: str = "r-1", **fields: Any) -> FakeRequest:
    tensors = {"caller": CALLER} | {name: _array(value) for name, value in fields.items()}
    return FakeRequest([FakeTensor(name, array) for name, array in tensors.items()], request_id)


def test_a_request_is_one_line_of_each_stage(tmp_path: Path, logged: Log) -> None:
    server = Server(tmp_path)
    digest = make_concept_digest(server)
    tensors: dict[str, Any] = {}
    [answer] = TritonAdapter(PB, server.text).execute([asked(prompt="a red * photo", concept="bear")])
    tensors = {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors}
    following = FakeRequest([FakeTensor(name, array) for name, array in tensors.items()], "r-1")
    TritonAdapter(PB, server.image).execute([following])
    first, second = logged.lines()
    for line, stage in ((first, "text_encoder"), (second, "image_encoder")):
        assert (line["stage"], line["request_id"], line["ending"]) == (stage, "r-1", "done")
        assert line["concept"] == f"bear@{digest}"
        assert line["seconds"] >= 0
        assert line["level"] == "info"
        assert line["timestamp"].endswith("Z")
    assert "photo" not in logged.text


def make_concept_digest(server: Server) -> str:
    from vico.concept import read_package

    return read_package(make_concept(server.registry_folder, "bear")).digest


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": SECRET},
        {"prompt": SECRET, "negative_prompt": SECRET[::-1]},
        {"prompt": SECRET, "concept": "nobody"},
        {"prompt": SECRET, "steps": -1},
        {"prompt": SECRET.encode() + b"\xff"},
        {"prompt": SECRET * 1000},
        {"prompt": SECRET, "sampler": "unknown"},
    ],
    ids=["good", "negative", "no concept", "bad steps", "not UTF-8", "too long", "bad sampler"],
)
def test_no_prompt_in_log_or_refusal(tmp_path: Path, logged: Log, fields: dict[str, Any]) -> None:
    [answer] = TritonAdapter(PB, Server(tmp_path).text).execute([asked(**fields)])
    said = logged.text + (answer.error.message if answer.error else "")
    assert "text_encoder" in said
    for word in ("Dalloway", "yawollaD", "a photo"):
        assert word not in said


def test_a_fault_that_repeats_the_prompt_is_logged_without_it(
    tmp_path: Path, logged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)

    def broken(prompt: str, *_: Any) -> Any:
        try:
            raise ValueError(f"{json.dumps(prompt)} after {prompt[:12].lower()}")
        except ValueError as error:
            raise KeyError(f"cannot tokenize {prompt!r} ({json.dumps(prompt)}, {prompt})") from error

    monkeypatch.setattr(server.text, "_tokenized", broken)
    [answer] = TritonAdapter(PB, server.text).execute([asked(prompt=SECRET)])
    assert "r-1" in answer.error.message
    [line, fault] = logged.lines()
    assert line["ending"] == "INTERNAL"
    assert fault["request_id"] == "r-1"
    assert f"KeyError: {HIDDEN}" in fault["exception"]
    assert f"ValueError: {HIDDEN}" in fault["exception"]
    assert "Traceback" in fault["exception"]
    assert "Mrs" not in logged.text.title()


def test_a_fault_that_does_not_repeat_the_prompt_says_what_it_says(
    tmp_path: Path, logged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    monkeypatch.setattr(server.text, "_tokenized", lambda *_: 1 // 0)
    TritonAdapter(PB, server.text).execute([asked(prompt=SECRET)])
    assert "ZeroDivisionError: integer division" in logged.lines()[1]["exception"]


def test_a_safety_checker_that_fails_is_logged_without_what_it_was_told(logged: Log) -> None:
    def checker(_pictures: Any, facts: Any) -> Any:
        raise ValueError(f"cannot judge {facts['prompt']!r}")

    head = {"shape": [1, 1, 1, 3], "facts": {"prompt": SECRET, "negative_prompt": ""}}
    assert _answer(checker, head, bytes(3)) == {"failed": "ValueError"}
    [line] = logged.lines()
    assert f"ValueError: {HIDDEN}" in line["event"]
    assert "in checker" in line["event"]
    assert "Dalloway" not in logged.text


@pytest.mark.parametrize("logged", [TelemetryConfig("json", log_prompts=True)], indirect=True)
def test_with_the_option_prompts_are_there(tmp_path: Path, logged: Log) -> None:
    stage = Server(tmp_path).text
    TritonAdapter(PB, stage, StageTelemetry("text_encoder", log_prompts=True)).execute([asked(prompt=SECRET)])
    [line] = logged.lines()
    assert line["prompt"] == SECRET


@given(text=st.text(min_size=3), before=st.text(), after=st.text())
def test_whatever_the_text_it_is_hidden(text: str, before: str, after: str) -> None:
    record = logging.LogRecord("vico", logging.ERROR, "", 0, "%s", (before + text + after,), None)
    with taking(Notes("r")):
        note_texts(text)
        line = json.loads(formatter(TelemetryConfig("json")).format(record))
    assert text not in line["event"].replace(HIDDEN, "\0")


def test_the_canary_and_word_to_the_loop_are_no_news(tmp_path: Path, logged: Log) -> None:
    from test_serving_stages import SEAL

    from serving.canary import CALLER as CANARY
    from serving.stages.stage import bytes_tensor

    request = asked(prompt="a")
    request.tensors[0] = FakeTensor("caller", bytes_tensor([CANARY.sealed(SEAL)]))
    [answer] = TritonAdapter(PB, Server(tmp_path).text).execute([request])
    assert answer.error is None
    assert logged.text == ""


@pytest.mark.parametrize("logged", [TelemetryConfig("text")], indirect=True)
def test_lines_for_people(tmp_path: Path, logged: Log) -> None:
    TritonAdapter(PB, Server(tmp_path).text).execute([asked(prompt="a")])
    [line] = logged.text.splitlines()
    assert "text_encoder done" in line
    assert "request_id=r-1" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def test_tritons_own_lines_become_objects_and_ours_stay_as_they_are(
    capsys: pytest.CaptureFixture[str], logged: Log
) -> None:
    ours = '{"event": "text_encoder done"}\n'
    lines = ours + "E1123 17:00:00.1 x.cc:5] failed to load 'vae_decoder' version 1: Internal: no\n\nW1123 careful\n"
    log = TritonLog(io.StringIO(lines), verbose=False, log_format="json")
    assert log.reason() == "model 'vae_decoder': no"
    assert capsys.readouterr().err == ours
    assert [(line["level"], line["logger"]) for line in logged.lines()] == [
        ("error", "vico.triton"), ("warning", "vico.triton"),
    ]  # fmt: skip


def test_text_on_a_terminal_and_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    assert resolved_format(None) == "text"
    assert resolved_format("json") == "json"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert resolved_format(None) == "json"
    assert resolved_format("text") == "text"


def test_the_stages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServingConfig(Path("/g"), Path("/r"), telemetry=TelemetryConfig("json", log_prompts=True))
    for name, text in config.to_env().items():
        monkeypatch.setenv(name, text)
    assert ServingConfig.from_env().telemetry == config.telemetry


def test_others_libraries_only_warn() -> None:
    root, level = logging.getLogger(), logging.getLogger("vico").level
    before, root_level = list(root.handlers), root.level
    root.handlers.clear()
    try:
        configure_logs(TelemetryConfig("json"))
        assert not logging.getLogger("fsspec").isEnabledFor(logging.INFO)
        assert logging.getLogger("vico.request").isEnabledFor(logging.INFO)
    finally:
        root.handlers[:] = before
        root.setLevel(root_level)
        logging.getLogger("vico").setLevel(level)
