"""A bar with the steps taken and the time gone by, on standard error, only where a person watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Bar = Callable[[int, int, float], None]  # step, steps, fraction done


@contextmanager
def stepping(text: str) -> Iterator[Bar | None]:
    """Show `text` and a bar while the block runs; leaves no trace. None, and silence, in a pipe or a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=None)

        def bar(step: int, steps: int, fraction: float) -> None:
            progress.update(task, description=f"step {step} of {steps}", total=1.0, completed=fraction)

        yield bar
