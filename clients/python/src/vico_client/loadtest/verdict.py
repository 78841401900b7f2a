"""Whether a test passed: no unexplained errors, no wrong picture, and the goals that the caller sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vico_client.loadtest.summary import Correctness, Counts, Durations, End, ErrorCount, Verdict


@dataclass(frozen=True)
class Goals:
    """max_p95: seconds; max_errors: share of the measured requests that may fail, explained or not."""

    max_p95: float | None = None
    max_errors: float | None = None


def judge(
    goals: Goals,
    end: End | None,
    counts: Counts,
    latency: Durations,
    errors: Sequence[ErrorCount],
    correctness: Correctness | None,
) -> Verdict:
    """The verdict, with every reason against it."""
    reasons = [] if end is None else list(end.failures)
    if end is None:
        reasons.append("the test did not end: its figures are of what was recorded until then")
    if counts.measured == 0:
        reasons.append("no request was measured")
    reasons += [f"{row.count} unexplained {row.error} ({row.status})" for row in errors if not row.explained]
    if correctness and correctness.equal < correctness.compared:
        wrong = correctness.compared - correctness.equal
        reasons.append(f"{wrong} of {correctness.compared} requests gave other pictures under load than alone")
    return Verdict(passed=not (reasons := reasons + _missed(goals, counts, latency)), reasons=reasons)


def _missed(goals: Goals, counts: Counts, latency: Durations) -> list[str]:
    missed = []
    if goals.max_p95 is not None and (latency.p95 is None or latency.p95 > goals.max_p95):
        found = "no latency" if latency.p95 is None else f"p95 {latency.p95:.3f} s"
        missed.append(f"{found}, above the goal of {goals.max_p95:g} s")
    share = counts.failed / max(counts.measured, 1)
    if goals.max_errors is not None and share > goals.max_errors:
        missed.append(f"{share:.2%} errors, above the goal of {goals.max_errors:.2%}")
    return missed
