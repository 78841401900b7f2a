"""The commands by name, from JSON to JSON: one table for the service and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from serving.admin.concepts import ConceptAdmin
from serving.concepts.control import Control
from serving.errors import InvalidField

Body = dict[str, Any]
MAX_TEXT = 200
"""Characters of one argument: more than any name has."""


def _listed(admin: ConceptAdmin) -> Body:
    return {"concepts": [asdict(summary) for summary in admin.list()]}


def _described(admin: ConceptAdmin, name: str) -> Body:
    return asdict(admin.describe(name))


def _changed(method: Callable[..., Control]) -> Callable[..., Body]:
    return lambda *arguments: {"revision": method(*arguments).revision}


COMMANDS: Mapping[str, tuple[tuple[str, ...], Callable[..., Body]]] = {
    "List": ((), _listed),
    "Describe": (("name",), _described),
    "Prefetch": (("name",), _changed(ConceptAdmin.prefetch)),
    "Pin": (("name",), _changed(ConceptAdmin.pin)),
    "Unpin": (("name",), _changed(ConceptAdmin.unpin)),
    "Alias": (("name", "target"), _changed(ConceptAdmin.alias)),
    "Unalias": (("name",), _changed(ConceptAdmin.unalias)),
    "Rollback": (("name",), _changed(ConceptAdmin.rollback)),
    "Remove": (("name",), _changed(ConceptAdmin.remove)),
    "Restore": (("digest",), _changed(ConceptAdmin.restore)),
}
"""Name in `concepts.proto` → its arguments, and what does it."""


def run(admin: ConceptAdmin, command: str, body: Mapping[str, Any]) -> Body:
    """Run one command.

    Raises:
        InvalidField: an argument is missing, unknown, or no text.
        VicoError: whatever the command refuses.
    """
    names, action = COMMANDS[command]
    for name in sorted(body.keys() - set(names)):
        raise InvalidField(name[:MAX_TEXT], "unknown", ", ".join(names) or "no argument")
    for name in names:
        value = body.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise InvalidField(name, "missing, or not a short text", f"1 to {MAX_TEXT} characters")
    return action(admin, *(body[name] for name in names))
