"""What has to be there before the clock starts: the graphs, a model repository with probes, and the concepts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.config import ServingConfig
from serving.photo import decode_photo, photo_to_array
from serving.runner import open_runner
from vico.concept import (
    ConceptPackage,
    GraphSet,
    Manifest,
    block_tensor_shapes,
    image_attention_key,
    read_graphset,
    read_package,
    write_package,
)

ROOT = Path(__file__).parents[2]
TOY_BASE = ROOT / "assets" / "toy-base"
PHOTO = ROOT / "assets" / "photos" / "chicken" / "train" / "0.jpg"
PROBED = ("text_encoder", "image_encoder", "unet_loop", "vae_decoder")


def toy_graphs(folder: Path) -> Path:
    """The toy base's graph set, exported into `folder` if it is not there already."""
    from export.keys import ExportOptions
    from export.pipeline import export_base
    from vico.base import load_base

    export_base(load_base(TOY_BASE), folder, ExportOptions(), check=False, announce=lambda name, stage: None)
    return folder


def probed_graphs(graphs: Path, folder: Path) -> tuple[Path, Path]:
    """A graph set whose stages write down what they do, made of the one at `graphs`; and where they write to."""
    probes, made = folder / "probes", folder / "graph-set"
    probes.mkdir(parents=True)
    made.mkdir()
    for name in ("graphset.json", "tokenizer.json"):
        shutil.copyfile(graphs / name, made / name)
    (made / "graphs").symlink_to((graphs / "graphs").resolve())
    shutil.copytree(graphs / "models", made / "models", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in PROBED:
        adapter = made / "models" / stage / "1" / "model.py"
        install = f"from benchmarks.serving import probe\n\nprobe.install({stage!r}, {str(probes)!r})\n"
        adapter.write_text(install + adapter.read_text())
    return made, probes


def concept_ids(count: int) -> list[str]:
    """Most popular first."""
    return [f"concept-{number}" for number in range(count)]


def make_concepts(graphs: Path, folder: Path, ids: list[str], package: Path | None, version: int = 0) -> None:
    """Write a concept of its own digest under each id: a trained package, or one never trained, and a little noise.

    Its weights decide what is in the picture, not what a step costs; the reference photo is a real one.
    """
    base = read_package(package) if package else _untrained(graphs)
    folder.mkdir(parents=True, exist_ok=True)
    for number, concept_id in enumerate(ids):
        random = np.random.default_rng((number, version))
        tensors = {
            name: (tensor * (1 + 0.05 * random.standard_normal(tensor.shape))).astype(tensor.dtype)
            for name, tensor in base.tensors.items()
        }
        write_package(folder / f"{concept_id}.safetensors", replace(base.manifest, id=concept_id, tensors={}), tensors)


def _untrained(graphs: Path) -> ConceptPackage:
    graphset, random = read_graphset(graphs), np.random.default_rng(0)
    tensors = {
        "token_embedding": random.standard_normal((1, graphset.context_width)) * 0.1,
        "references": _reference(graphs, graphset),
    }
    for site in graphset.sites:
        for name, shape in block_tensor_shapes(site.channels).items():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            tensors[image_attention_key(site.name, name)] = centre + random.standard_normal(shape) * 0.02
    manifest = Manifest(
        id="untrained", init_word="toy", base_digest=graphset.base_digest, sites=graphset.sites, tensors={}
    )
    return ConceptPackage(manifest, "", {name: tensor.astype(np.float32) for name, tensor in tensors.items()})


def _reference(graphs: Path, graphset: GraphSet) -> npt.NDArray[np.float32]:
    image = photo_to_array(decode_photo(PHOTO.read_bytes()), graphset.default_size)
    runner = open_runner(ServingConfig(graphs, Path()), graphset, "vae_encoder")
    latent: npt.NDArray[np.float32] = runner.run({"image": image})["latent"]
    return latent
