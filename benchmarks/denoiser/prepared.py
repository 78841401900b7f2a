"""What has to be there before the clock starts: graphs, concept packages, and the base's numbers."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from benchmarks.denoiser.results import BenchmarkError
from benchmarks.denoiser.settings import KEPT_SHARE, Settings
from export.signatures import Geometry
from vico.concept import Manifest, SiteSpec, block_tensor_shapes, image_attention_key, write_package
from vico.concept.atomic import write_atomically

_FILE = "prepared.json"
CONCEPTS = ("a", "b")


@dataclass(frozen=True)
class Prepared:
    """Paths and numbers; every worker reads them."""

    base: Path
    graphset: Path
    plain: Path
    two_stream: Path
    concepts: tuple[Path, ...]
    geometry: Geometry
    strides: tuple[int, ...]
    """Latent pixels per patch along one side, by site."""
    weight_bytes: int
    """Of the whole base in float32."""

    def tokens(self, latent: int) -> tuple[int, ...]:
        """Reference patches at every site, N_i."""
        return tuple((latent // stride) ** 2 for stride in self.strides)

    def kept(self, latent: int) -> tuple[int, ...]:
        """Those that a mask leaves, M_i."""
        return tuple(max(1, round(KEPT_SHARE * n)) for n in self.tokens(latent))


_ADAPTER = TypeAdapter(Prepared)


def read_prepared(settings: Settings) -> Prepared:
    """What `prepare` left in `settings.work`."""
    return _ADAPTER.validate_json((settings.work / _FILE).read_bytes())


def prepare(settings: Settings) -> None:
    """Export what is missing, in a process of its own: an export takes the memory of several models.

    Raises:
        BenchmarkError: it failed.
    """
    process = multiprocessing.get_context("spawn").Process(target=_prepare, args=(settings,))
    process.start()
    process.join()
    if process.exitcode:
        raise BenchmarkError("base", f"preparing it ended with code {process.exitcode}", "a base that can be exported")


def _prepare(settings: Settings) -> None:
    from benchmarks.denoiser.graphs import (
        PlainUnet,
        TwoStream,
        export_for_benchmark,
        made_from,
        plain_signature,
        two_stream_signature,
    )
    from export.keys import ExportOptions
    from export.modules import geometry_of
    from export.pipeline import export_base
    from vico.base import load_base

    base = load_base(settings.base)
    geometry, graphset, root = geometry_of(base), settings.work / "graphset", settings.work / "graphs"
    export_base(base, graphset, ExportOptions(), check=False, announce=lambda name, stage: print(f"  {stage} {name}"))
    source = made_from(base)
    plain = export_for_benchmark(source, PlainUnet(base.unet), plain_signature(geometry), geometry, root)
    both = TwoStream(base.unet, base.sites)
    two = export_for_benchmark(source, both, two_stream_signature(geometry), geometry, root)
    concepts = tuple(
        _write_concept(settings, name, seed, base.digest, geometry, settings.latent)
        for seed, name in enumerate(CONCEPTS)
    )
    modules = (base.unet, base.vae, base.text_encoder)
    weight_bytes = 4 * sum(parameter.numel() for module in modules for parameter in module.parameters())
    strides = tuple(site.stride for site in base.sites)
    made = Prepared(settings.base, graphset, plain, two, concepts, geometry, strides, weight_bytes)
    write_atomically(settings.work / _FILE, _ADAPTER.dump_json(made, indent=1))


def _write_concept(settings: Settings, name: str, seed: int, base: str, geometry: Geometry, latent: int) -> Path:
    """A concept package of the right size from random numbers."""
    path = settings.work / "concepts" / f"{name}-{latent}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding": (1, geometry.context_width),
        "references": (1, geometry.latent_channels, latent, latent),
        **_block_shapes(geometry.sites),
    }
    tensors = {key: (0.02 * random.standard_normal(shape, np.float32)) for key, shape in shapes.items()}
    manifest = Manifest(id=name, init_word="thing", base_digest=base, sites=geometry.sites, tensors={})
    write_package(path, manifest, tensors)
    return path


def _block_shapes(sites: tuple[SiteSpec, ...]) -> dict[str, tuple[int, ...]]:
    return {
        image_attention_key(site.name, tensor): shape
        for site in sites
        for tensor, shape in block_tensor_shapes(site.channels).items()
    }
