"""One child at a time: what it tells, how it ends, what it leaves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.errors import StudioError
from studio.jobs import Jobs, Phase, Snapshot, Task
from tests.helpers.studio_fakes import PHOTOS, REFUSED, SLEEPS, STEP, WRITTEN, an_order, telling

PATIENCE = 120.0


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.cancel()
    assert not made.wait(lambda now: not now.busy, PATIENCE).busy


def start(jobs: Jobs, command: list[str], work: Path, *, look: bool = False, finish: object = None) -> None:
    work.mkdir(exist_ok=True)
    (work / "photo.png").write_bytes(b"a photo")
    order = an_order()
    jobs.claim(order, look=look)
    jobs.run(Task(order, command, work, look, finish or (lambda: None)))  # type: ignore[arg-type]


def over(jobs: Jobs) -> Snapshot:
    snapshot = jobs.wait(lambda now: not now.busy, PATIENCE)
    assert not snapshot.busy
    return snapshot


def test_a_training_is_watched_to_its_end(jobs: Jobs, tmp_path: Path) -> None:
    finished: list[bool] = []
    events: list[dict[str, Any] | str] = [
        PHOTOS,
        "a library's own words",
        STEP,
        STEP | {"step": 2, "seconds": 4.0},
        WRITTEN,
    ]
    start(jobs, telling(*events), tmp_path / "work", finish=lambda: finished.append(True))
    snapshot = over(jobs)
    assert (snapshot.phase, snapshot.problem, finished) == (Phase.DONE, None, [True])
    assert (snapshot.step, snapshot.steps, snapshot.loss, len(snapshot.photos)) == (2, 2, 0.5, 1)
    assert not (tmp_path / "work").exists()


def test_a_look_ends_with_the_photos(jobs: Jobs, tmp_path: Path) -> None:
    start(jobs, telling(PHOTOS), tmp_path / "work", look=True, finish=pytest.fail)
    assert over(jobs).phase is Phase.LOOKED


def test_a_refusal_is_told_without_paths(jobs: Jobs, tmp_path: Path) -> None:
    start(jobs, telling(REFUSED | {"problem": f"{tmp_path / 'work'} is odd"}, then="exit(1)"), tmp_path / "work")
    snapshot = over(jobs)
    assert snapshot.phase is Phase.FAILED
    assert snapshot.problem is not None
    assert (snapshot.problem.field, snapshot.problem.problem) == ("init word", "the upload is odd")


@pytest.mark.parametrize("then", ["", "raise SystemExit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_child_that_dies_is_a_failure(jobs: Jobs, tmp_path: Path, then: str) -> None:
    start(jobs, telling(STEP, then=then), tmp_path / "work", finish=pytest.fail)
    snapshot = over(jobs)
    assert (snapshot.phase, snapshot.problem and snapshot.problem.field) == (Phase.FAILED, "training")
    assert not (tmp_path / "work").exists()


def test_a_command_that_is_not_there_is_a_failure(jobs: Jobs, tmp_path: Path) -> None:
    start(jobs, [str(tmp_path / "nothing")], tmp_path / "work")
    assert over(jobs).phase is Phase.FAILED


def test_what_finishing_refuses_is_told(jobs: Jobs, tmp_path: Path) -> None:
    def finish() -> None:
        raise StudioError("name", "'disc' is taken", "another name")

    start(jobs, telling(WRITTEN), tmp_path / "work", finish=finish)
    problem = over(jobs).problem
    assert problem is not None
    assert problem.field == "name"


def test_cancelling_ends_the_child_and_what_it_started(jobs: Jobs, tmp_path: Path) -> None:
    spawn = "import os, subprocess, sys\n"
    spawn += f"child = subprocess.Popen([sys.executable, '-S', '-c', {SLEEPS!r}])\n"
    spawn += f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
    spawn += 'print(\'{"event": "step", "step": 1, "steps": 2, "loss": 0.5, "seconds": 1}\', flush=True)\nchild.wait()'
    start(jobs, telling(then=spawn), tmp_path / "work", finish=pytest.fail)
    assert jobs.wait(lambda now: now.step == 1, PATIENCE).step == 1
    jobs.cancel()
    assert over(jobs).phase is Phase.CANCELLED
    # both have the signal; the system takes its time to end them
    deadline = time.monotonic() + PATIENCE
    while any(_runs(int(pid)) for pid in (tmp_path / "pids").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (tmp_path / "work").exists()


def test_one_at_a_time(jobs: Jobs, tmp_path: Path) -> None:
    start(jobs, telling(STEP, then=SLEEPS), tmp_path / "one")
    with pytest.raises(StudioError, match="'disc' is being learned") as caught:
        jobs.claim(an_order(name="other"), look=False)
    assert caught.value.field == "training"
    jobs.cancel()
    over(jobs)
    start(jobs, telling(WRITTEN), tmp_path / "two")
    assert over(jobs).phase is Phase.DONE


def test_every_change_has_a_version_of_its_own(jobs: Jobs, tmp_path: Path) -> None:
    before = jobs.snapshot.version
    start(jobs, telling(PHOTOS, STEP, WRITTEN), tmp_path / "work")
    assert over(jobs).version >= before + 4


def test_the_time_left_is_by_the_pace_so_far() -> None:
    assert Snapshot().seconds_left is None
    assert Snapshot(step=2, steps=10, seconds=6.0).seconds_left == 24.0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
