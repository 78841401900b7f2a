"""`vico loadtest` from the command line to the folder, with real sending processes and a fake server."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_vico_server import FakeServer, Refusal, pictures
from recorded import a_test, record, run, write_folder
from typer.testing import CliRunner, Result
from vico_client.loadtest.cli import app
from vico_client.loadtest.plan import read_plan
from vico_client.loadtest.records import read_records

STUB = Path(__file__).parent / "fake_perf_analyzer.py"


def _loadtest(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "workload.toml"
    path.write_text(
        'prompts = ["a *"]\nplain_prompts = ["a dog"]\n[concepts]\nids = ["toy"]\nplain_share = 0.5\n'
        "[fields]\nsteps = {uniform = [1, 9]}\nnum_images = {choice = [1, 2]}\n"
    )
    return path


def _run(server: FakeServer, folder: Path, *more: object) -> Result:
    fixed = ("--address", server.address, "--out", folder, "--quiet", "--warmup", 0, "--processes", 2)
    return _loadtest("run", *fixed, *more)


def test_it_is_a_command_of_vico_and_of_its_own_distribution() -> None:
    (entry,) = (entry for entry in entry_points(group="vico.commands") if entry.name == "loadtest")
    assert entry.load() is app
    from vico_client.__main__ import build_app

    assert "loadtest" in CliRunner().invoke(build_app(), ["--help"]).stdout


def test_an_open_loop_sends_its_plan_and_nothing_else(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    made = _loadtest("plan", plan, "--rate", 20, "--duration", 2, "--warmup", 0.5, "-w", workload, "--check", 0.2)
    assert (made.exit_code, made.stdout) == (0, f"{plan}\n")
    done = _run(server, tmp_path / "out", "--plan", plan, "--json")
    assert done.exit_code == 0, done.output
    requests = read_plan(plan).requests
    records = read_records(tmp_path / "out")
    assert [item.number for item in records] == [item.number for item in requests]
    assert [item.scheduled for item in records] == [item.at for item in requests]
    assert all(item.scheduled <= item.sent <= item.done for item in records)
    assert len({item.request_id for item in records}) == len(records)
    told = json.loads(done.stdout)
    assert told["counts"]["ok"] + told["counts"]["warmup"] == len(requests)
    assert told["correctness"]["identical"] == told["correctness"]["compared"] == sum(r.checked for r in requests)
    sent = {call.request_id: call.fields for call in server.calls}
    for item in records:
        assert {name: _plain(value) for name, value in sent[item.request_id].items()} == item.request
    assert {path.name.split("-")[0] for path in (tmp_path / "out" / "pictures").iterdir()} == {
        str(item.number) for item in requests if item.checked
    }


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def test_a_closed_loop_never_has_more_under_way_than_users(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def slow(call: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        threading.Event().wait(0.05)
        with lock:
            under_way -= 1
        return pictures(call)

    server.answer = slow
    done = _run(server, tmp_path / "out", "--users", 3, "--duration", 2, "-w", workload, "--check", 0)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'out' / 'report.html'}\n"
    assert most == 3
    records = read_records(tmp_path / "out")
    assert {item.user for item in records} == {0, 1, 2}
    for user in range(3):
        mine = [item for item in records if item.user == user]
        assert all(after.sent >= before.done for before, after in itertools.pairwise(mine))


def test_errors_are_counted_and_fail_the_test(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    def answer(call: Any) -> Any:
        if call.fields.get("steps", 1) >= 7 and "lt-" in call.request_id:
            raise Refusal(grpc.StatusCode.INTERNAL, "request: failed; accepted: another try")
        if call.fields.get("steps", 1) in (5, 6):
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "num_images: 1 pictures, no room; accepted: fewer")
        return pictures(call)

    server.answer = answer
    done = _run(server, tmp_path / "out", "--rate", 30, "--duration", 2, "-w", workload, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {(row["error"], row["status"], row["explained"]) for row in told["errors"]} == {
        ("ServerError", "INTERNAL", False),
        ("Overloaded", "RESOURCE_EXHAUSTED", True),
    }
    assert told["counts"]["ok"] + sum(row["count"] for row in told["errors"]) == told["counts"]["measured"]


def test_a_picture_that_depends_on_its_neighbours_is_found(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    server.answer = lambda call: pictures(call, **({} if call.request_id.endswith("-alone") else {"width": 24}))
    done = _run(server, tmp_path / "out", "--rate", 10, "--duration", 2, "-w", workload, "--check", 1)
    assert done.exit_code == 1
    assert "gave other pictures under load than alone" in done.stderr


def test_a_sending_process_that_is_killed_is_told(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    """It fails the test; the other goes on, and what the dead one had recorded is in the report."""
    calls = itertools.count()

    def answer(call: Any) -> Any:
        if call.request_id.startswith("lt-") and next(calls) == 9:
            multiprocessing.active_children()[0].kill()
        return pictures(call)

    server.answer = answer
    done = _run(server, tmp_path / "out", "--rate", 20, "--duration", 3, "-w", workload, "--check", 0, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [reason for reason in told["verdict"]["reasons"] if "was killed" in reason]
    assert told["counts"]["unsent"] > 0
    assert {item.number % 2 for item in read_records(tmp_path / "out")} == {0, 1}


def test_ctrl_c_stops_in_good_order(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    calls = itertools.count()

    def answer(call: Any) -> Any:
        if call.request_id.startswith("lt-") and next(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return pictures(call)

    server.answer = answer
    done = _run(server, tmp_path / "out", "--users", 2, "--duration", 600, "-w", workload, "--check", 0, "--json")
    told = json.loads(done.stdout)
    assert told["end"]["interrupted"]
    assert told["end"]["failures"] == []
    assert told["counts"]["ok"] == len(read_records(tmp_path / "out")) >= 5


def test_a_trace_is_replayed(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    trace = tmp_path / "day.csv"
    trace.write_text("at,concept,steps\n5,toy,3\n6,toy,4\n9,toy,5\n")
    done = _run(server, tmp_path / "out", "--trace", trace, "--speed", 4, "-w", workload, "--check", 0)
    assert done.exit_code == 0, done.output
    records = read_records(tmp_path / "out")
    assert [item.scheduled for item in records] == [0.0, 0.25, 1.0]
    assert [item.request["steps"] for item in records] == [3, 4, 5]


def test_a_goal_that_is_missed(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    done = _run(server, tmp_path / "out", "--users", 1, "--duration", 1, "-w", workload, "--max-p95", 0.000001)
    assert done.exit_code == 1
    assert "above the goal" in done.stderr


def test_a_sweep_finds_the_rate_that_the_server_takes(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    """A server that answers ten requests of each test: 5 a second for 2 s is good, 10 a second is not."""
    answered: Counter[str] = Counter()

    def answer(call: Any) -> Any:
        run_id = call.request_id.rpartition("-")[0]
        answered[run_id] += 1
        if run_id and answered[run_id] > 10:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "num_images: no room; accepted: fewer")
        return pictures(call)

    server.answer = answer
    fixed = ("--address", server.address, "--quiet", "-w", workload, "--duration", 2, "--warmup", 0, "--first", 5)
    criterion = ("--factor", 1e6, "--follow", 0.7, "--resolution", 1)
    done = _loadtest("sweep", *fixed, *criterion, "--out", tmp_path / "s", "--json")
    assert done.exit_code == 0, done.output
    sweep = json.loads(done.stdout)
    assert [(point["rate"], point["good"]) for point in sweep["points"]] == [(5, True), (10, False)]
    assert (sweep["knee"], sweep["bounded"]) == (5, True)
    assert (tmp_path / "s" / "point-02" / "report.html").exists()
    assert json.loads(_loadtest("report", tmp_path / "s", "--json").stdout) == sweep
    assert sweep == json.loads((tmp_path / "s" / "sweep.json").read_text())


def test_perf_analyzer_beside_ours(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    tool = tmp_path / "perf_analyzer"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STUB}" "$@"\n')
    tool.chmod(0o755)
    fixed = ("--address", server.address, "--quiet", "-w", workload, "--duration", 2, "--warmup", 0, "--tool", tool)
    done = _loadtest(
        "perf-analyzer", *fixed, "--users", 2, "--rounds", 2, "--cycle", 4, "--out", tmp_path / "p", "--json"
    )
    told = json.loads(done.stdout)
    assert done.exit_code == (0 if told["agree"] else 1)
    assert [tool["theirs"]["latency"]["p50"] for tool in told["rounds"]] == pytest.approx([0.1, 0.1], rel=2e-3)
    theirs = told["rounds"][0]["theirs"]
    count = theirs["latency"]["count"]
    # sent every 50 ms, answered 100 ms later: the last three answers come after the sending has ended
    assert theirs["throughput"] == pytest.approx(max(count - 3, 0) / (0.05 * (count - 1)))
    assert len(json.loads((tmp_path / "p" / "perf-analyzer-0.json").read_text())) == 4  # each once, before all
    steps = json.loads((tmp_path / "p" / "input-data.json").read_text())["data"]
    assert len(steps) == 4
    sent = [item.request for item in read_records(tmp_path / "p" / "round-1")]
    assert all({name: {"content": [value], "shape": [1]} for name, value in fields.items()} in steps for fields in sent)
    assert json.loads(_loadtest("report", tmp_path / "p", "--json").stdout) == told


def test_a_tool_that_fails_says_its_last_words(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    tool = tmp_path / "perf_analyzer"
    tool.write_text(
        f'#!/bin/sh\nif test -e "{tool}.ran"; then echo error: Failed to read data; exit 3; fi\n'
        f'touch "{tool}.ran"\nexec "{sys.executable}" "{STUB}" "$@"\n'
    )
    tool.chmod(0o755)
    fixed = ("--address", server.address, "--quiet", "-w", workload, "--duration", 1, "--warmup", 0)
    done = _loadtest("perf-analyzer", *fixed, "--users", 1, "--tool", tool, "--out", tmp_path / "p")
    assert done.exit_code == 2
    assert "Failed to read data" in done.stderr
    assert read_records(tmp_path / "p" / "round-1")  # what was measured until then is kept


def test_a_report_can_be_made_again(tmp_path: Path) -> None:
    write_folder(tmp_path / "t", a_test([record(number, float(number)) for number in range(9)], run=run(planned=9)))
    assert _loadtest("report", tmp_path / "t").stdout == f"{tmp_path / 't' / 'report.html'}\n"
    first = (tmp_path / "t" / "report.json").read_bytes(), (tmp_path / "t" / "report.html").read_bytes()
    (tmp_path / "t" / "report.json").unlink()
    _loadtest("report", tmp_path / "t")
    assert first == ((tmp_path / "t" / "report.json").read_bytes(), (tmp_path / "t" / "report.html").read_bytes())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "exactly one of"),
        (["--rate", 1, "--users", 1], "exactly one of"),
        (["--rate", 0], "rate"),
        (["--rate", 1, "--warmup", 99], "warmup"),
        (["--users", 0], "users"),
        (["--rate", 1, "--tenants", "/no/such.txt"], "such.txt"),
        (["--rate", 1, "--address", "a:1,b:2"], "several servers"),
        (["--rate", 1, "--tls-ca", "/no/such.pem"], "root_certificates"),
        (["--rate", 1, "--workload", "/no/such.toml"], "such.toml"),
        (["--trace", "/no/such.csv"], "such.csv"),
        (["--plan", "/no/such.jsonl"], "such.jsonl"),
        (["--plan", "/no/such.jsonl", "--rate", 1], "the plan says it all"),
        (["--rate", 1, "--metrics", "ftp://x"], "metrics"),
        (["--rate", 1, "--address", "http://x"], "not a gRPC address"),
        (["--rate", "fast"], "--rate"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[object], words: str) -> None:
    done = _loadtest("run", "--address", "localhost:1", "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert words in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_concept_that_is_not_there_is_said_before_the_start(
    server: FakeServer, tmp_path: Path, workload: Path
) -> None:
    server.refuse(grpc.StatusCode.NOT_FOUND, "concept: toy; accepted: a concept in the registry")
    done = _run(server, tmp_path / "out", "--rate", 1, "-w", workload)
    assert done.exit_code == 2
    assert "concept 'toy'" in done.stderr
    assert len(server.calls) == 1


def test_nobody_answers(tmp_path: Path) -> None:
    done = _loadtest("run", "--rate", 1, "--address", "localhost:1", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["type"] == "Unavailable"
    assert not (tmp_path / "out").exists()


def test_results_are_not_overwritten(server: FakeServer, tmp_path: Path, workload: Path) -> None:
    (tmp_path / "notes").touch()
    done = _run(server, tmp_path, "--rate", 1, "-w", workload)
    assert done.exit_code == 2
    assert "not empty" in done.stderr
