"""The real Triton server on the exported tiny base, started once as `vico serve` starts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from served import Caller, Served, start_server

from tests.helpers.concepts import make_concept
from vico.concept import GraphSet

if TYPE_CHECKING:
    from vico.base import Base


@dataclass(frozen=True)
class Exported:
    """The graph set of the tiny base."""

    folder: Path
    graphset: GraphSet

    def make_concept(self, registry: Path, concept_id: str, seed: int = 1, base: str = "", **kind: Any) -> Path:
        """Write a random concept that fits this base (or claims to be of another)."""
        return make_concept(
            registry,
            concept_id,
            sites=self.graphset.sites,
            base=base or self.graphset.base_digest,
            seed=seed,
            width=self.graphset.context_width,
            latent=self.graphset.default_size // self.graphset.vae_factor,
            **kind,
        )


@pytest.fixture(scope="session")
def exported(tiny_base: Base, pytestconfig: pytest.Config) -> Exported:
    """Exported into pytest's cache, where the tests of `export` find the same graphs: half a minute the first time."""
    pytest.importorskip("pytriton", reason="the Triton server is not installed: pip install 'vico[serve]'")
    from tests.helpers.tiny_graphs import export_unchecked

    assert pytestconfig.cache is not None
    graphs = export_unchecked(tiny_base, Path(pytestconfig.cache.mkdir("tiny-graphs")))
    return Exported(graphs.folder, graphs.graphset)


@pytest.fixture(scope="session")
def server(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    registry = folder / "registry"
    registry.mkdir()
    exported.make_concept(registry, "toy")
    served = start_server(exported.folder, registry, folder / "log")
    yield served
    assert served.stop() == 0, served.log()


@pytest.fixture(scope="session")
def call(server: Served) -> Caller:
    return Caller(server.address)
