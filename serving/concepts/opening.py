"""The registry of one server, from its config."""

from __future__ import annotations

from pathlib import Path

from serving.concepts.admission import Admission
from serving.concepts.folder import FolderSource
from serving.concepts.loading import Loader
from serving.concepts.registry import Registry
from serving.concepts.signature import open_policy
from serving.concepts.source import Source
from serving.concepts.store import ConceptStore
from serving.config import ServingConfig
from serving.errors import LaunchError
from vico.concept import GraphSet


def open_source(registry: Path | str) -> Source:
    """The files of a registry: a folder, or a URL that `fsspec` opens.

    Raises:
        LaunchError: there is no such folder, or no library for such a URL.
    """
    if isinstance(registry, Path):
        if not registry.is_dir():
            raise LaunchError("registry", "no such folder", "a folder of concept packages, which may be empty")
        return FolderSource(registry)
    # an import of many files, and only where it is asked for
    from serving.concepts.remote import RemoteSource

    try:
        return RemoteSource(registry)
    except (ImportError, ValueError):
        raise LaunchError("registry", "cannot be opened", "a folder, or a URL like s3://… (needs vico[s3])") from None


def open_registry(config: ServingConfig, graphset: GraphSet) -> Registry:
    """The registry of `config`, with a store that keeps nothing in memory.

    Raises:
        LaunchError: see `open_source`; or the key for signatures is none.
    """
    source = open_source(config.registry)
    admission = Admission(graphset, open_policy(config.signature_key))
    return Registry(source, Loader(source, ConceptStore(config.store, 0), admission, config.store_bytes))
