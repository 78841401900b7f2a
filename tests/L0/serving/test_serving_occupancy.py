"""What the loop tells of itself: pictures that run, and pictures that wait."""

from __future__ import annotations

from pathlib import Path

from fake_runners import Concepts, FakeDenoiser, make_engine, make_spec

from serving.loop import EngineLoop
from serving.runner import Feeds, Results
from serving.stages.stage import NO_DEADLINE


class Watching(FakeDenoiser):
    """Notes how full the loop is whenever a step runs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: EngineLoop | None = None
        self.seen: list[tuple[int, int]] = []

    def run(self, feeds: Feeds) -> Results:
        if self.loop is not None:
            self.seen.append(self.loop.occupancy)
        return super().run(feeds)


def test_pictures_that_are_done_do_not_wait(tmp_path: Path) -> None:
    """Eight pictures of one request on four lanes: when the first four are done the others run, and nobody waits."""
    denoiser = Watching()
    denoiser.loop = loop = EngineLoop(make_engine(Concepts(tmp_path, 1).load, denoiser=denoiser), max_queue=4)
    specs = [make_spec(k, steps=3) for k in range(8)]
    loop.submit(specs, NO_DEADLINE).result(20)
    assert denoiser.seen == [(4, 4)] * 3 + [(4, 0)] * 3
    assert loop.occupancy == (0, 0)
    loop.close(5)
