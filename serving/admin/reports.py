"""What the admin surface says about concepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Summary:
    """One line of the list: a concept's file, or an alias."""

    name: str
    digest: str = ""
    """What the name stands for; "" if that cannot be told."""
    alias_of: str = ""
    """`id` of the concept that an alias stands for."""
    size_bytes: int = 0
    base: str = ""
    pinned: bool = False
    prefetched: bool = False
    error: str = ""


@dataclass(frozen=True)
class Residence:
    """What one stage of a server holds of a version."""

    stage: str
    host: bool
    slot: bool


@dataclass(frozen=True)
class Description:
    """All that is known of what a name stands for."""

    name: str
    id: str
    digest: str
    versions: tuple[str, ...]
    """Digests that can be asked for: of the file, and those that are kept."""
    aliases: tuple[str, ...]
    """Names that stand for this very version."""
    previous: tuple[str, ...] = ()
    """For an alias: `id@digest` that it can be rolled back to, the latest first."""
    size_bytes: int = 0
    base_name: str = ""
    base_digest: str = ""
    placeholder: str = ""
    sites: int = 0
    licence: str = ""
    created: str = ""
    signed: bool = False
    """A signature lies beside the file; whether it is good only a server with `--require-signature` tells."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False
    prefetched: bool = False
    residence: tuple[Residence, ...] = ()
    """Empty where no server is asked."""
    error: str = ""
    """Why the newest file is refused."""
