"""Which concepts a caller may name: the files and aliases of the registry, without those that are not its business."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from serving.caller import Caller
from serving.concepts.registry import Registry
from serving.concepts.source import SUFFIX
from serving.errors import InvalidField
from serving.fields import RawFields, TextField
from vico.concept.manifest import CONCEPT_ID

PATTERN = TextField("pattern", 1, 64)
MAX_LISTED = 1000

_PATTERN_FORM = re.compile(r"[a-z0-9._*?-]+")
_ID = re.compile(CONCEPT_ID)


def parse_pattern(fields: RawFields) -> str:
    """Which names are asked for; `*` stands for any characters, `?` for one.

    Raises:
        InvalidField: another form.
    """
    pattern = PATTERN.read(fields)
    if _PATTERN_FORM.fullmatch(pattern) is None:
        raise InvalidField("pattern", "malformed", "a concept's id, in which * stands for any characters, ? for one")
    return pattern


def list_concepts(registry: Registry, caller: Caller, pattern: str) -> str:
    """JSON: `concepts`, by name, of `{name, version}`, and `more`, whether there are further ones.

    `version` is the `name@digest` that the name stands for now, "" for what was not loaded yet.

    Raises:
        RegistryUnreachable: it cannot be asked.
    """
    names = _names(registry)
    shown = sorted(name for name in names if fnmatchcase(name, pattern) and caller.sees(name))
    concepts = [
        {"name": name, "version": f"{name}@{names[name]}" if names[name] else ""} for name in shown[:MAX_LISTED]
    ]
    return json.dumps({"concepts": concepts, "more": len(shown) > MAX_LISTED})


def _names(registry: Registry) -> Mapping[str, str]:
    """Name → digest, "" where it is not known yet."""
    control, _ = registry.control()
    known = registry.entries()
    names: dict[str, str] = {}
    for file in registry.source.names(""):
        name = file.removesuffix(SUFFIX)
        if file.endswith(SUFFIX) and _ID.fullmatch(name):
            entry = known.get(file)
            names[name] = entry.current.digest if entry is not None and entry.current is not None else ""
    names |= {name: alias.target.partition("@")[2] for name, alias in control.aliases.items()}
    return {name: digest for name, digest in names.items() if digest not in control.removed}
