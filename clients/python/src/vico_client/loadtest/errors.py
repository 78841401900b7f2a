"""What a load test refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from vico_client.errors import VicoClientError


class LoadTestError(VicoClientError):
    """A workload, plan, trace, folder or tool cannot be used: `field` names it, `hint` says what is accepted."""


@contextmanager
def validation_as_usage(name: str) -> Iterator[None]:
    """Turn pydantic's first complaint into one line `<name>.<field>: <problem>`."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([name, *(str(part) for part in first["loc"])])
        problem = first["msg"].replace("Value error, ", "")
        raise LoadTestError(problem, field=place, hint="see docs/loadtest.md") from None


def read_text(path: Path, name: str) -> str:
    """The text of a file the user named; LoadTestError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise LoadTestError(f"{path.name!r}: {reason}", field=name, hint="a readable UTF-8 file") from None
