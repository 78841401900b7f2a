"""The report of a folder, whatever kind of test it holds."""

from __future__ import annotations

from pathlib import Path

from vico_client.loadtest.agreement import SETUP, Agreement, report_agreement
from vico_client.loadtest.report import write_report
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.sweep import Sweep
from vico_client.loadtest.sweep_run import CRITERION, report_sweep
from vico_client.loadtest.verdict import Goals


def rebuild(folder: Path, goals: Goals) -> Summary | Sweep | Agreement:
    """Make all reports in the folder anew; LoadTestError if it holds no test."""
    if (folder / CRITERION).exists():
        for place in sorted(folder.glob("*/run.json")):
            write_report(place.parent, Goals())
        return report_sweep(folder)
    if (folder / SETUP).exists():
        return report_agreement(folder)
    return write_report(folder, goals)
