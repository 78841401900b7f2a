"""The graph set: what `export` hands to `serving`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vico.concept.atomic import write_atomically
from vico.concept.manifest import Digest, SiteSpec
from vico.concept.preview import SD1_LATENT_TO_RGB, LatentToRGB
from vico.concept.prompt import TokenizerSpec
from vico.errors import GraphSetError
from vico.sampling.schedule import NoiseSchedule

GRAPHSET_FILE = "graphset.json"
GRAPHSET_VERSION: Literal[1] = 1
GraphName = Literal["text_encoder", "vae_encoder", "reference_encoder", "denoiser", "vae_decoder"]
TargetName = Literal["onnx", "onnx-fp16", "onnx-bf16", "tensorrt", "tensorrt-rtx"]
"""What a graph is made to run on: ONNX Runtime's CPU; its CUDA in either half width; TensorRT engines built on the
device; engines built ahead of time."""
_CONFIG = ConfigDict(extra="forbid")

__all__ = ["GraphName", "GraphSet", "GraphSpec", "SiteSpec", "TargetName", "read_graphset", "write_graphset"]


@dataclass(frozen=True, config=_CONFIG)
class GraphSpec:
    """One graph."""

    file: str
    """Path of the ONNX file or engine relative to the graph set's folder."""
    digest: Digest
    """What the graph was made from; the same digest means the same graph."""


@dataclass(frozen=True, config=_CONFIG)
class GraphSet:
    """Everything serving must know about a base and its graphs."""

    base_digest: Digest
    base_name: str
    tokenizer: TokenizerSpec
    schedule: NoiseSchedule
    sites: tuple[SiteSpec, ...]
    graphs: Mapping[GraphName, GraphSpec]
    """As exported: float32, standard operators only; what every target's graphs are made from."""
    context_width: int
    """Width D of the text encoder's output and of a token embedding."""
    vae_factor: int
    """Pixels per latent cell along one side."""
    size_multiple: int
    """Height and width must be multiples of this many pixels: the VAE's factor times the U-Net's."""
    default_size: int
    """Height and width, in pixels, when a request names none."""
    max_size: int
    """Greatest height or width, in pixels."""
    latent_channels: Annotated[int, Field(ge=1)] = 4
    latent_to_rgb: Annotated[LatentToRGB, Field(min_length=2)] | None = None
    """Makes previews; None = that of Stable Diffusion 1.x."""
    targets: Mapping[TargetName, Mapping[GraphName, GraphSpec]] = Field(default_factory=dict)
    """The same graphs in the form that each target runs best."""
    packed: Mapping[str, Mapping[GraphName, GraphSpec]] = Field(default_factory=dict)
    """The `onnx` form once more, by `processor_key`: optimised for that processor, with weights packed and shared."""
    format_version: Literal[1] = GRAPHSET_VERSION

    @property
    def preview_map(self) -> LatentToRGB:
        """The base's own map from latents to colours, or that of its family."""
        return self.latent_to_rgb or SD1_LATENT_TO_RGB

    def spec(self, name: GraphName, target: TargetName) -> GraphSpec | None:
        """The graph `name` for `target`; None if the set was not exported for it."""
        return self.targets.get(target, {}).get(name)


_ADAPTER = TypeAdapter(GraphSet)


def write_graphset(folder: Path, graphset: GraphSet) -> Path:
    """Write `graphset.json` into `folder` atomically; returns its path."""
    path = folder / GRAPHSET_FILE
    content: Any = _ADAPTER.dump_python(graphset, mode="json")
    write_atomically(path, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
    return path


def read_graphset(folder: Path) -> GraphSet:
    """Read `graphset.json` from `folder`.

    Raises:
        GraphSetError: it is absent, malformed, or of another format version.
    """
    try:
        return _ADAPTER.validate_json((folder / GRAPHSET_FILE).read_bytes())
    except FileNotFoundError:
        raise GraphSetError("graphs", f"no {GRAPHSET_FILE} in the folder", "a folder made by `vico export`") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or GRAPHSET_FILE
        raise GraphSetError(
            "graphs", f"{where!r} is wrong ({first['msg']})", f"a graph set of format {GRAPHSET_VERSION}: export again"
        ) from None
