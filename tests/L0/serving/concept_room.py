"""A registry of any kind with a server's view of it, and an operator's; for tests of `serving.concepts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fake_runners import GRAPHSET

from serving.admin.concepts import ConceptAdmin
from serving.concepts.admission import Admission
from serving.concepts.folder import FolderSource
from serving.concepts.loading import Loader
from serving.concepts.registry import Registry
from serving.concepts.remote import RemoteSource
from serving.concepts.signature import SignaturePolicy
from serving.concepts.source import Source
from serving.concepts.store import ConceptStore
from serving.concepts.watcher import Watcher
from tests.helpers.concepts import make_concept
from vico.concept import read_package

FOREVER = 60.0
"""Seconds that a busy machine may take for what takes milliseconds."""


@dataclass
class Shelf:
    """An object store in memory, with faults on demand."""

    work: Path
    root: str = field(default_factory=lambda: f"/{uuid4().hex}")

    @property
    def url(self) -> str:
        return f"memory:/{self.root}"

    @property
    def files(self) -> Any:
        return fsspec.filesystem("memory")

    def add(self, concept_id: str, seed: int = 0, **kind: Any) -> str:
        """Put a concept there; returns its digest."""
        path = make_concept(self.work, concept_id, seed=seed, **kind)
        self.put(f"{concept_id}.safetensors", path.read_bytes())
        return read_package(path).digest

    def put(self, name: str, content: bytes) -> None:
        self.files.pipe_file(f"{self.root}/{name}", content)

    def remove(self, name: str) -> None:
        self.files.rm_file(f"{self.root}/{name}")


@dataclass
class View:
    """One server's view of a registry."""

    source: Source
    folder: Path
    signatures: SignaturePolicy | None = None
    store_bytes: int = 2**30
    host_bytes: int = 2**20

    def __post_init__(self) -> None:
        self.store = ConceptStore(self.folder, self.host_bytes)
        self.loader = Loader(self.source, self.store, Admission(GRAPHSET, self.signatures), self.store_bytes)
        self.registry = Registry(self.source, self.loader)
        self.watcher = Watcher(self.registry, 0.05)
        self.admin = ConceptAdmin(self.source, self.folder)

    def look(self) -> None:
        """A look at the registry, and the end of the downloads that it began."""
        self.watcher.look()
        self.settle()
        self.watcher.look()

    def settle(self) -> None:
        for entry in self.registry.entries().values():
            if entry.fetching is not None:
                entry.fetching.result(FOREVER)

    def digest(self, name: str) -> str:
        return self.registry.resolve(name).head.digest

    def codes(self, name: str) -> list[str]:
        return [notice.code for notice in self.registry.resolve(name).warnings]


def folder_view(path: Path, **options: Any) -> View:
    registry = path / "registry"
    registry.mkdir(exist_ok=True)
    return View(FolderSource(registry), path / "store", **options)


def shelf_view(shelf: Shelf, path: Path, **options: Any) -> View:
    return View(RemoteSource(shelf.url, patience_seconds=0.01), path, **options)
