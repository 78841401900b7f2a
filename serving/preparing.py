"""Concept packages, read beside the loop for the lanes that join next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future

from vico.concept import ConceptPackage

Load = Callable[[str], ConceptPackage]
Mark = Callable[[Collection[str]], object]
"""Tells whoever keeps packages which of them, by digest, will still be read."""


class Packages:
    """The packages of the lanes that are about to join, and no others: what they take is bounded by their number.

    Belongs to the loop's thread.

    Args:
        load: a package by digest; from any thread.
        executor: where it is called; None = here and now.
        wake: called from another thread when one was read, or could not be.
        mark: called where packages are read.
    """

    def __init__(
        self,
        load: Load,
        executor: Executor | None = None,
        wake: Callable[[], None] = lambda: None,
        mark: Mark = lambda _: None,
    ) -> None:
        self._load = load
        self._executor = executor
        self.wake = wake
        self._mark = mark
        self._futures: dict[str, Future[ConceptPackage]] = {}

    def want(self, digests: Sequence[str]) -> None:
        """Read these, and let go of all others."""
        for digest in self._futures.keys() - set(digests):
            self._futures.pop(digest).cancel()
        for digest in digests:
            if digest not in self._futures:
                self._futures[digest] = self._begin(digest)

    def mark(self, digests: Collection[str]) -> None:
        """Have these stay where they are kept: they will be read, if not yet."""
        if self._executor is None:
            self._mark(digests)
        else:
            self._executor.submit(self._mark, digests)

    def read(self, digest: str) -> bool:
        """Whether the package was read; not if it could not be."""
        future = self._futures.get(digest)
        return future is not None and future.done() and future.exception() is None

    def errors(self) -> dict[str, Exception]:
        """Why packages could not be read, by digest."""
        done = ((digest, future.exception()) for digest, future in self._futures.items() if future.done())
        return {digest: error for digest, error in done if isinstance(error, Exception)}

    def forget(self, digests: Collection[str]) -> None:
        """Let go of these: whoever wants one has it read anew."""
        for digest in digests:
            self._futures.pop(digest, None)

    def get(self, digest: str) -> ConceptPackage:
        """A package that was read."""
        return self._futures[digest].result()

    def close(self) -> None:
        """Read nothing more."""
        self.want([])
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._futures)

    def _begin(self, digest: str) -> Future[ConceptPackage]:
        if self._executor is not None:
            future = self._executor.submit(self._load, digest)
            future.add_done_callback(lambda _: self.wake())
            return future
        future = Future()
        try:
            future.set_result(self._load(digest))
        except Exception as error:  # noqa: BLE001 - it is that of whoever asks for this package
            future.set_exception(error)
        return future
