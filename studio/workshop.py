"""From an order to a concept in the registry: checks, folders, the child, and what becomes of the photos."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studio.child import package_of, train_command
from studio.errors import StudioError
from studio.jobs import Jobs, Snapshot, Task
from studio.order import Order
from studio.registry import Registry
from studio.uploads import Limits, check_photos, copy_photos


@dataclass(frozen=True)
class Workshop:
    """Where things are taught. private: a folder that only this studio uses. kept: where photos stay that may stay."""

    base: Path
    registry: Registry
    jobs: Jobs
    private: Path
    kept: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def look(self, order: Order) -> None:
        """Begin to find the thing in the photos; `jobs` tells how it goes. StudioError as in `train`."""
        self._begin(order, look=True)

    def train(self, order: Order) -> None:
        """Begin to train; `jobs` tells how it goes.

        Raises:
            StudioError: the photos cannot be taken, the name is taken, or something else is under way.
        """
        self.registry.require_free(order.name, replace=order.replace)
        self._begin(order, look=False)

    @property
    def snapshot(self) -> Snapshot:
        """How the job stands."""
        return self.jobs.snapshot

    def _begin(self, order: Order, *, look: bool) -> None:
        suffixes = check_photos(order.photos, self.limits)
        self.jobs.claim(order, look=look)
        work = Path(tempfile.mkdtemp(prefix="job-", dir=self.private))
        try:
            copy_photos(order.photos, suffixes, work / "photos")
        except OSError:
            shutil.rmtree(work, ignore_errors=True)
            self.jobs.release()
            raise StudioError("photos", "they could not be stored", "drop them again") from None
        command = train_command(order, self.base, work, look=look)
        self.jobs.run(Task(order, command, work, look, lambda: self._finish(order, work)))

    def _finish(self, order: Order, work: Path) -> None:
        self.registry.install(package_of(order, work), order.name, replace=order.replace)
        if order.keep and self.kept is not None:
            _replace_folder(work / "photos", self.kept / order.name)
        self.forget(order.photos)

    def forget(self, photos: Sequence[Path]) -> None:
        """Delete uploads; files that are not ours are left alone."""
        for photo in photos:
            if photo.resolve().is_relative_to(self.private.resolve()):
                photo.unlink(missing_ok=True)


def _replace_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
