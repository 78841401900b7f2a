"""The supervisor: keeps a Triton server and a front door alive, and lets calls in only while the canary comes through.

The front door keeps its port whatever happens behind it: clients meet a short outage that says "later", never a lost
address. What is mended how was measured (docs/architecture.md): a dead stage before the loop is loaded again beside the
others, whose pictures go on; the loop, or the server, can only be started anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from serving.canary import Canary, Verdict
from serving.errors import LaunchError
from serving.front.config import FrontConfig
from serving.front.process import FrontProcess
from serving.launcher import Server
from serving.processes import Watch, kill, stage_processes
from serving.seal import Seal
from serving.stages.names import DECODER, LOOP, STREAMS
from serving.telemetry.catalogue import FRONT, TRITON
from serving.telemetry.instruments import Instruments
from serving.telemetry.supervision import SupervisorMetrics

logger = logging.getLogger("vico.serving")

_AFTER_THE_LOOP = frozenset({LOOP, DECODER})
"""Every call under way is in one of these or on its way there: it is lost with them."""


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what."""

    poll_seconds: float = 0.5
    start_seconds: float = 600.0
    """For a server to load the graphs."""
    canary_seconds: float = 30.0
    """For a canary's answer."""
    canary_every_seconds: float = 15.0
    grace_seconds: float = 30.0
    """For calls under way when everything is told to stop."""
    restarts: int = 8
    """Attempts to start a server that never comes up, before giving up."""
    longest_backoff_seconds: float = 30.0
    calm_seconds: float = 120.0
    """A server that lived so long counts as mended."""

    def backoff(self, restarts: int) -> float:
        """Seconds before start number `restarts` in a row; none before the first."""
        return min(self.longest_backoff_seconds, 0.5 * 2.0**restarts) if restarts else 0.0


class Supervisor:
    """Use it as a context manager: leaving drains and stops everything.

    Args:
        server: not yet started.
        front: where to listen, and for whom.
        canary_side: of the canary's picture, in pixels.
        patience: how long it waits for what.
        metrics: is told whether calls are let in, and what was started anew.

    Raises:
        LaunchError: the front door cannot listen, or the server does not start.
    """

    def __init__(
        self,
        server: Server,
        front: FrontConfig,
        canary_side: int,
        patience: Patience,
        metrics: SupervisorMetrics | None = None,
    ) -> None:
        self._server = server
        self._metrics = metrics or SupervisorMetrics(Instruments())
        self._side = canary_side
        self._patience = patience
        self._watch = Watch({})
        self._ill = self._restarts = 0
        self._reloaded = False
        self._serving = False
        self._began = self._next_canary = 0.0
        self.front = FrontProcess(front)
        self._door = Watch({FRONT: self.front.pid})
        try:
            self._canary = self._new_canary()
            self._bring_up()
        except BaseException:
            self.front.kill()
            raise

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.front.drain(self._patience.grace_seconds)
        self._canary.close()
        # nobody is under way any more; Triton would wait in vain for the models of dead stages
        self._server.close(graceful=not self._reloaded)

    def run(self) -> None:
        """Until the process is told to stop.

        Raises:
            LaunchError: the server does not come up again.
        """
        while True:
            time.sleep(self._patience.poll_seconds)
            self.look()

    def look(self) -> None:
        """Look at everything once, and mend what is broken."""
        if door := self._door.broken():
            self._replace_front(door[FRONT])
            if self._serving:
                self._admit_or_restart()
        broken = self._watch.broken()
        if broken:
            self._mend(broken)
        else:
            self._ask_canary()

    def _mend(self, broken: dict[str, str]) -> None:
        logger.error("broken: %s", ", ".join(f"{name} ({how})" for name, how in sorted(broken.items())))
        self._refuse(bool(broken.keys() & {TRITON, *_AFTER_THE_LOOP}), drop_streams=STREAMS in broken)
        if broken.keys() & {TRITON, LOOP} or not all(self._reload(stage) for stage in broken):
            self._restart()
        else:
            self._watch = Watch({TRITON: self._server.pid} | stage_processes(self._server.pid))
            self._admit_or_restart()

    def _reload(self, stage: str) -> bool:
        # a frozen process that goes on later can take the server with it
        kill(self._watch.processes[stage])
        self._reloaded = True
        self._metrics.restarted(stage)
        return self._server.reload(stage)

    def _restart(self) -> None:
        self._refuse(drop=True)
        if time.monotonic() - self._began > self._patience.calm_seconds:
            self._restarts = 0
        while True:
            self._server.kill()
            self._metrics.restarted(TRITON)
            time.sleep(self._patience.backoff(self._restarts))
            self._restarts += 1
            try:
                return self._bring_up()
            except LaunchError as error:
                logger.error("%s", error)
                if self._restarts >= self._patience.restarts:
                    raise

    def _bring_up(self) -> None:
        """Start the server; calls are let in when the canary has come through."""
        self._server.start(self._patience.start_seconds)
        self._canary.close()
        self._canary = self._new_canary()
        if not self._canary.passes(self._patience.canary_seconds):
            raise LaunchError(TRITON, "its models are ready, and no picture comes of them", "a look at the log")
        self._reloaded = False
        self._began = time.monotonic()
        self._watch = Watch({TRITON: self._server.pid} | stage_processes(self._server.pid))
        if not self._admit():
            raise LaunchError("front", "it cannot reach the server", "a look at the log")

    def _ask_canary(self) -> None:
        if time.monotonic() < self._next_canary:
            return
        verdict = self._canary.look()
        if verdict is Verdict.WAITING:
            return
        self._next_canary = time.monotonic() + self._patience.canary_every_seconds
        # the canary knows nothing of the door, which may hang without standing still
        if not self.front.answers():
            self._replace_front("does not answer")
            if self._serving:
                self._admit_or_restart()
        self._metrics.canary(verdict is Verdict.WELL)
        if verdict is Verdict.WELL:
            if not self._serving:
                self._admit_or_restart()
            self._ill = 0
            return
        self._ill += 1
        self._next_canary = 0.0
        self._refuse(drop=False)
        if self._ill > 1:
            self._restart()

    def _replace_front(self, how: str) -> None:
        logger.error("broken: the front door (%s)", how)
        self._metrics.restarted(FRONT)
        self._canary.cancel_all()
        # one that stands still keeps the port
        self.front.kill()
        self.front = self._new_front(self.front.config)
        self._door = Watch({FRONT: self.front.pid})

    def _new_front(self, config: FrontConfig) -> FrontProcess:
        """Again and again, as a server is: what the old door lived with, a torn file of keys, keeps a new one out."""
        for attempt in range(1, self._patience.restarts):
            try:
                return FrontProcess(config)
            except LaunchError as error:
                logger.error("%s", error)
            time.sleep(self._patience.backoff(attempt))
        return FrontProcess(config)

    def _admit_or_restart(self) -> None:
        if not self._admit():
            logger.error("the front door cannot reach the server")
            self._restart()

    def _admit(self) -> bool:
        """Let calls in; whether the door reaches the server. One that died while something else was mended is replaced
        first: two faults at once must not end what outlives either."""
        if self.front.ended():
            self._replace_front("ended")
        if not self.front.serve():
            return False
        self._serving = True
        self._metrics.serves(True)
        self._ill = 0
        self._next_canary = time.monotonic() + self._patience.canary_every_seconds
        return True

    def _refuse(self, drop: bool, drop_streams: bool = False) -> None:
        self._serving = False
        self._metrics.serves(False)
        self.front.refuse(drop, drop_streams)

    def _new_canary(self) -> Canary:
        seal = Seal(self._server.config.secret)
        return Canary(self._server.private, seal, self._side, self._patience.canary_seconds)
