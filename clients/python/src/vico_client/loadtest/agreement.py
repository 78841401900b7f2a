"""Our figures beside perf_analyzer's: the same closed loop over the same requests, in turns, by the same rules."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Optional

from pydantic import Field

from vico_client.loadtest.figures import durations
from vico_client.loadtest.load import ClosedLoad
from vico_client.loadtest.perf_analyzer import command, cycle_requests, find_tool, read_times, run_tool, write_data
from vico_client.loadtest.plan import make_plan
from vico_client.loadtest.records import read_records
from vico_client.loadtest.report import render, write_report
from vico_client.loadtest.run import Settings, run_test
from vico_client.loadtest.storage import new_folder, read_json, write_json, write_text
from vico_client.loadtest.summary import Document, Durations, Part
from vico_client.loadtest.verdict import Goals
from vico_client.loadtest.workload import Workload

TOLERANCE = 0.1
SETUP = "agreement-setup.json"
Times = Sequence[tuple[float, float]]  # (sent, answered), seconds from the first


class Measured(Part):
    """One tool's figures of one round. throughput: answers a second; latency: seconds, from sent to answered."""

    throughput: float
    latency: Durations


class Round(Part):
    """One after the other; the first changes from round to round."""

    ours: Measured
    theirs: Measured


class Ratio(Part):
    """Ours over theirs, of one figure; the median over the rounds, and all of them."""

    figure: str
    ours: float
    theirs: float
    ratio: float
    ratios: list[float]


class Setup(Part):
    """users, seconds (of a round), warmup (seconds that do not count), rounds."""

    address: str
    users: int
    duration: float
    warmup: float
    rounds: int
    cycle: int
    timeout: float
    seed: int


class Agreement(Document):
    """agreement.json."""

    schema_name: Literal["vico.loadtest.agreement"] = Field(default="vico.loadtest.agreement", alias="schema")
    setup: Setup
    rounds: list[Round]
    ratios: list[Ratio]
    tolerance: float
    agree: bool


def measured(times: Times, warmup: float) -> Measured:
    """Figures of what was sent after `warmup` and before the sending ended, by one rule for both tools."""
    end = max((sent for sent, _ in times), default=0.0)
    seconds = max(end - warmup, 1e-9)
    throughput = sum(warmup <= answered < end for _, answered in times) / seconds
    return Measured(
        throughput=throughput,
        latency=durations(answered - sent for sent, answered in times if sent >= warmup),
    )


def compare(setup: Setup, rounds: Sequence[Round], tolerance: float = TOLERANCE) -> Agreement:
    """Whether throughput and median latency agree within the tolerance; p95 is shown beside them."""
    ratios = [
        ratio
        for ratio in (
            _ratio("throughput", rounds, lambda tool: tool.throughput),
            _ratio("p50", rounds, lambda tool: tool.latency.p50),
            _ratio("p95", rounds, lambda tool: tool.latency.p95),
        )
        if ratio is not None
    ]
    judged = [abs(ratio.ratio - 1) <= tolerance for ratio in ratios if ratio.figure in ("throughput", "p50")]
    return Agreement(
        setup=setup, rounds=list(rounds), ratios=ratios, tolerance=tolerance, agree=len(judged) == 2 and all(judged)
    )


def _ratio(figure: str, rounds: Sequence[Round], value: Callable[[Measured], Optional[float]]) -> Optional[Ratio]:
    pairs = [(value(one.ours), value(one.theirs)) for one in rounds]
    known = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    if not known:
        return None
    ratios = [ours / theirs for ours, theirs in known]
    ours, theirs = (statistics.median(side) for side in zip(*known))
    return Ratio(figure=figure, ours=ours, theirs=theirs, ratio=statistics.median(ratios), ratios=ratios)


def run_agreement(
    setup: Setup,
    workload: Workload,
    settings: Settings,
    folder: Path,
    *,
    tool: Optional[Path] = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Agreement:
    """Run both in turns, after every request was sent once. The workload's deadlines are left out: perf_analyzer has
    none, and ends at the first error."""
    program = find_tool(tool)
    load = ClosedLoad(users=setup.users, duration=setup.duration, warmup=setup.warmup, cycle=setup.cycle)
    plan = make_plan(load, workload.model_copy(update={"deadline": None}), setup.seed)
    new_folder(folder)
    write_json(folder / SETUP, setup.model_dump())
    data = folder / "input-data.json"
    write_data(data, cycle_requests(plan))

    def ours(number: int) -> int:
        tell(f"round {number} of {setup.rounds}: vico loadtest")
        place = folder / f"round-{number}"
        run_test(plan, settings, place)
        write_report(place, Goals())
        return len(read_records(place))

    def theirs(number: int, count: int) -> None:
        tell(f"round {number} of {setup.rounds}: perf_analyzer")
        export = folder / f"perf-analyzer-{number}.export.json"
        arguments = command(program, setup.address, data, export, users=setup.users, count=count, timeout=setup.timeout)
        run_tool(arguments, folder / f"perf-analyzer-{number}.log", 60 + 10 * setup.duration)
        write_json(folder / f"perf-analyzer-{number}.json", read_times(export))
        export.unlink()  # it holds every picture as text

    # the first time that a request comes, the server prepares what it keeps of it: whoever goes first would pay alone
    theirs(0, max(setup.cycle, setup.users))
    count = max(setup.users, 1)
    for number in range(1, setup.rounds + 1):
        if number % 2:
            count = max(ours(number), setup.users)
            theirs(number, count)
        else:
            theirs(number, count)
            ours(number)
    return report_agreement(folder)


def report_agreement(folder: Path) -> Agreement:
    """Make the report of the folder anew, from the records of both tools."""
    setup = Setup.model_validate(read_json(folder / SETUP))
    rounds = []
    for number in range(1, setup.rounds + 1):
        exported = folder / f"perf-analyzer-{number}.json"
        if not (exported.exists() and (folder / f"round-{number}").is_dir()):
            break
        ours = [(record.sent, record.done) for record in read_records(folder / f"round-{number}") if record.ok]
        theirs = [(sent, answered) for sent, answered in read_json(exported)]
        rounds.append(Round(ours=measured(ours, setup.warmup), theirs=measured(theirs, setup.warmup)))
    agreement = compare(setup, rounds)
    write_text(folder / "agreement.json", agreement.model_dump_json(by_alias=True, indent=1) + "\n")
    write_text(folder / "agreement.html", render("agreement.html.jinja", agreement=agreement))
    return agreement
