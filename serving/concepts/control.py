"""The operator's wishes: one small document, of which every change is a new revision."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vico.concept.manifest import CONCEPT_ID, Digest, validate_concept_id
from vico.errors import ConceptError

MAX_PREVIOUS = 8
"""Earlier targets of an alias that can be rolled back to."""

_CONFIG = ConfigDict(extra="forbid")
ConceptId = Annotated[str, StringConstraints(pattern=rf"^{CONCEPT_ID}$")]
Version = Annotated[str, StringConstraints(pattern=rf"^{CONCEPT_ID}@[0-9a-f]{{64}}$")]
Name = Annotated[str, StringConstraints(pattern=rf"^{CONCEPT_ID}(@[0-9a-f]{{64}})?$")]


@dataclass(frozen=True, config=_CONFIG)
class Alias:
    """A name that stands for one version."""

    target: Version
    previous: tuple[Version, ...] = ()
    """What it stood for before, the latest first."""


@dataclass(frozen=True, config=_CONFIG)
class Control:
    """All wishes at one revision. Methods return the next state; the revision is counted when it is written."""

    revision: Annotated[int, Field(ge=0)] = 0
    aliases: Mapping[ConceptId, Alias] = Field(default_factory=dict)
    pinned: tuple[Name, ...] = ()
    """Kept in every server's memory and slots, the first ones first where room is short."""
    prefetched: tuple[Name, ...] = ()
    """Loaded before they are asked for."""
    removed: Mapping[Digest, ConceptId] = Field(default_factory=dict)
    """Versions that no server may use, whatever file they appear in."""
    format_version: Literal[1] = 1

    def with_alias(self, name: str, target: str) -> Control:
        """`name` stands for `target` from now on; what it stood for can be rolled back to."""
        old = self.aliases.get(name)
        if old and old.target == target:
            return self
        previous = (old.target, *old.previous)[:MAX_PREVIOUS] if old else ()
        return replace(self, aliases={**self.aliases, name: Alias(target, previous)})

    def rolled_back(self, name: str) -> Control:
        """`name` stands for what it stood for before.

        Raises:
            ConceptError: there is no such alias, or nothing before.
        """
        alias = self.aliases.get(name)
        if alias is None or not alias.previous:
            raise ConceptError("alias", f"{name!r} has nothing to go back to", "an alias that was moved before")
        return replace(self, aliases={**self.aliases, name: Alias(alias.previous[0], alias.previous[1:])})

    def without_alias(self, name: str) -> Control:
        """`name` is no alias, and nothing is wished for it."""
        return replace(self.released(name), aliases={key: alias for key, alias in self.aliases.items() if key != name})

    def with_pin(self, name: str) -> Control:
        """`name` is pinned."""
        return self if name in self.pinned else replace(self, pinned=(*self.pinned, name))

    def with_prefetch(self, name: str) -> Control:
        """`name` is loaded ahead."""
        return self if name in self.prefetched else replace(self, prefetched=(*self.prefetched, name))

    def released(self, name: str) -> Control:
        """`name` is neither pinned nor loaded ahead."""
        pinned = tuple(other for other in self.pinned if other != name)
        return replace(self, pinned=pinned, prefetched=tuple(other for other in self.prefetched if other != name))

    def with_removed(self, versions: Mapping[str, str]) -> Control:
        """No server uses these versions (digest → id); wishes for them are dropped."""
        gone = {f"{concept_id}@{digest}" for digest, concept_id in versions.items()}
        return replace(
            self,
            aliases={name: _forgetting(alias, gone) for name, alias in self.aliases.items()},
            removed={**self.removed, **versions},
            pinned=tuple(name for name in self.pinned if name not in gone),
            prefetched=tuple(name for name in self.prefetched if name not in gone),
        )

    def restored(self, digest: str) -> Control:
        """A removed version may be used again."""
        return replace(self, removed={key: value for key, value in self.removed.items() if key != digest})

    def referenced(self) -> set[str]:
        """Versions `id@digest` that must stay available: targets of aliases, now and before, and what is pinned."""
        aliased = {version for alias in self.aliases.values() for version in (alias.target, *alias.previous)}
        return aliased | {name for name in (*self.pinned, *self.prefetched) if "@" in name}

    def users_of(self, version: str) -> list[str]:
        """Aliases that stand for `id@digest` now."""
        return sorted(name for name, alias in self.aliases.items() if alias.target == version)

    def to_json(self) -> str:
        """The document."""
        content: Any = _ADAPTER.dump_python(self, mode="json")
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: bytes) -> Control:
        """Parse a document.

        Raises:
            ConceptError: it is torn, malformed, or of a later format.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError:
            raise ConceptError("registry", "a control document is malformed", "what `vico concepts` writes") from None


def split_name(name: str) -> tuple[str, str]:
    """Id and digest ("" without one) of `id` or `id@digest`; called before any path is made of either.

    Raises:
        ConceptError: it is of neither form.
    """
    concept_id, at, digest = name.partition("@")
    validate_concept_id(concept_id)
    if at and re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise ConceptError("concept", "malformed digest", "id@digest with 64 hexadecimal digits")
    return concept_id, digest


def _forgetting(alias: Alias, gone: set[str]) -> Alias:
    return replace(alias, previous=tuple(version for version in alias.previous if version not in gone))


_ADAPTER = TypeAdapter(Control)
