"""Users of the SDK under whom a server is broken: they know their pictures, and note what is not as promised."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import vico_client
from leaks import LEAKS
from served import wait_until
from vico_client.retry import is_retryable

TIMEOUT = 240.0
"""Seconds of one try."""
SLACK = 60.0
"""Seconds by which a busy machine may overrun a deadline."""
MIN_PSNR = 40.0


@dataclass(frozen=True)
class Known:
    """A request, and the pictures that are right."""

    request: vico_client.GenerateRequest
    right: Callable[[vico_client.GenerateResult], bool]


def known(client: vico_client.Client, **fields: Any) -> Known:
    """A request as it is answered now, while nothing is broken."""
    request = vico_client.GenerateRequest(**fields)
    pixels = _pixels(client.send(request))
    return Known(request, lambda result: alike(_pixels(result), pixels))


def alike(one: Any, other: Any) -> bool:
    """Whether two pictures are equal, as far as the contract goes: what shares a batch may sum in another order."""
    error = float(((one.astype(float) - other) ** 2).mean())
    return error == 0.0 or 10 * np.log10(255**2 / error) >= MIN_PSNR


@dataclass
class Patient:
    """Ask again and again, each request until it is answered, as long as the block lasts."""

    address: str
    cases: Sequence[Known]
    users: int = 3
    outcomes: Counter[str] = field(default_factory=Counter)
    """`answered`, and the errors on the way there by type."""
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _asked: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> Patient:
        self._pool = ThreadPoolExecutor(self.users)
        self._asked = [self._pool.submit(self._ask, user) for user in range(self.users)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._asked:
            one.result(TIMEOUT + SLACK)
        self._pool.shutdown()

    def goes_on(self, more: int = 3, seconds: float = 400.0) -> bool:
        """Whether so many further answers come."""
        before = self.outcomes["answered"]
        return wait_until(lambda: self.outcomes["answered"] >= before + more or self._broken(), seconds)

    def _broken(self) -> bool:
        return any(one.done() for one in self._asked)

    def _ask(self, user: int) -> None:
        once = vico_client.Retry(attempts=1)
        with vico_client.Client(self.address, timeout=TIMEOUT, retry=once) as client:
            for turn in itertools.count(user):
                if self._stop.is_set():
                    return
                self._until_answered(client, self.cases[turn % len(self.cases)])

    def _until_answered(self, client: vico_client.Client, case: Known) -> None:
        """Every error on the way must be one after which the SDK itself would have sent the request again."""
        while True:
            began = time.monotonic()
            try:
                result = client.send(case.request)
            except vico_client.VicoClientError as error:
                self.outcomes[type(error).__name__] += 1
                if not is_retryable(error):
                    self.wrong.append(f"{type(error).__name__}: {error}")
                if LEAKS.search(str(error).replace(self.address, "")):
                    self.wrong.append(f"it leaks: {error}")
            else:
                self.outcomes["answered"] += 1
                if not case.right(result):
                    self.wrong.append(f"another picture of {case.request}")
                return
            finally:
                if time.monotonic() - began > TIMEOUT + SLACK:
                    self.wrong.append("hung beyond its deadline")
            if self._stop.wait(0.2):
                return


def _pixels(result: vico_client.GenerateResult) -> Any:
    return np.stack([np.asarray(image) for image in result.images])
