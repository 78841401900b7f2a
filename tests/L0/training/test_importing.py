"""`vico import`: a published checkpoint gives the published results through our pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests.helpers.concepts import make_concept
from tests.helpers.photos import make_photos
from tests.helpers.published import random_blocks, write_blocks, write_embedding
from training.errors import TrainingError
from training.importing import ImportJob, import_concept
from vico.base import Base, load_base
from vico.concept import read_package
from vico.errors import ConceptError
from vico.interop.errors import CheckpointError
from vico.loaded_concept import load_concept
from vico.parity import TOLERANCE_FLOAT64
from vico.parity_model import CONFIG, WEIGHTS, load_cases, load_model
from vico.pipeline import PictureRequest, encode_pictures, generate_latents
from vico.streams import denoise, reference_features

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests" / "golden" / "parity"
SHARED = REPOSITORY.parent / "shared" / "parity"
published = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the published reference tensors are not on this machine (../shared/parity)"
)


def parity_base(tiny: Path, parity: Path, out: Path) -> Path:
    """The tiny base with the parity folder's U-Net, and a text encoder of its width."""
    shutil.copytree(tiny, out)
    shutil.rmtree(out / "unet")
    shutil.rmtree(out / "text_encoder")
    load_model(parity, torch.float32).unet.save_pretrained(out / "unet")
    settings = json.loads((tiny / "text_encoder" / "config.json").read_text())
    width = json.loads((parity / CONFIG).read_text())["context_dim"]
    config = CLIPTextConfig(**{**settings, "hidden_size": width, "num_attention_heads": 4})
    CLIPTextModel(config).save_pretrained(out / "text_encoder")
    return out


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "parity", [pytest.param(SHARED, marks=published, id="published"), pytest.param(GOLDEN, id="golden")]
)
def test_same_noise_as_the_parity_tensors(tiny_base_folder: Path, tmp_path: Path, parity: Path, zipped: bool) -> None:
    base_folder = parity_base(tiny_base_folder, parity, tmp_path / "base")
    weights = load_file(parity / WEIGHTS)
    blocks = {
        name.replace("unet.", "diffusion_model."): tensor for name, tensor in weights.items() if "image_cross" in name
    }
    width = json.loads((parity / CONFIG).read_text())["context_dim"]
    job = ImportJob(
        base=base_folder,
        embedding=write_embedding(tmp_path / "embeddings_gs-399.pt", torch.randn(1, width), zipped=zipped),
        out=tmp_path / "toy.safetensors",
        concept_id="toy",
        cross_attention=write_blocks(tmp_path / "cross_attention-399.pt", blocks, zipped=zipped),
        photos=make_photos(tmp_path / "photos"),
        init_word="toy",
    )
    digest = import_concept(job)
    package = read_package(job.out)
    assert package.digest == digest
    base = load_base(base_folder, dtype=torch.float64)
    concept = load_concept(base, package)
    for tensors in load_cases(parity).values():
        if "mask0" not in tensors:
            continue
        x, xr, c = (tensors[name].double() for name in ("x", "xr", "c"))
        with torch.no_grad():
            references = reference_features(base.unet, base.sites, xr, tensors["t"], c, tensors["ph"])
            features, masks = [r.features for r in references], [r.mask for r in references]
            noise = denoise(base.unet, base.sites, concept.blocks, x, tensors["t"], c, features, masks)
        assert all(torch.equal(m, tensors[f"mask{i}"].bool()) for i, m in enumerate(masks))
        torch.testing.assert_close(noise, tensors["eps"], rtol=0, atol=TOLERANCE_FLOAT64)


@pytest.fixture
def job(tiny_base: Base, tiny_base_folder: Path, tmp_path: Path) -> ImportJob:
    layers = int(tiny_base.unet.config["layers_per_block"])
    return ImportJob(
        base=tiny_base_folder,
        embedding=write_embedding(tmp_path / "e.pt", torch.randn(1, tiny_base.context_width)),
        out=tmp_path / "out" / "toy.safetensors",
        concept_id="toy",
        cross_attention=write_blocks(tmp_path / "c.pt", random_blocks(tiny_base.site_specs, layers)),
        photos=make_photos(tmp_path / "photos"),
        init_word="toy",
    )


def test_a_published_concept_makes_pictures(job: ImportJob, tiny_base: Base) -> None:
    import_concept(replace(job, references=2))
    package = read_package(job.out)
    assert package.manifest.recipe["method"] == "vico-published"
    assert len(package.manifest.recipe["cross_attention_sha256"]) == 64
    assert package.manifest.preview_png.startswith(b"\x89PNG")
    assert package.references.shape == (2, 4, 16, 16)
    concept = load_concept(tiny_base, package)
    request = PictureRequest("a photo of a *", steps=2)
    whole = generate_latents(tiny_base, request, concept)
    assert not torch.equal(whole, generate_latents(tiny_base, replace(request, image_guidance=0.0), concept))


def test_references_are_the_photos(job: ImportJob, tiny_base: Base) -> None:
    from training.photos import load_photos

    import_concept(job)
    assert job.photos is not None
    first = load_photos(job.photos, tiny_base.default_size)[0].picture
    kept = torch.from_numpy(read_package(job.out).references)
    assert torch.equal(kept, encode_pictures(tiny_base, [first]))


def test_a_word_alone(job: ImportJob, tiny_base: Base) -> None:
    word = replace(job, cross_attention=None, photos=None, init_word="")
    import_concept(word)
    package = read_package(job.out)
    assert package.manifest.token_only
    assert package.manifest.recipe["method"] == "textual-inversion"
    assert job.out.stat().st_size < 4096
    assert (
        generate_latents(tiny_base, PictureRequest("a *", steps=1), load_concept(tiny_base, package)).isfinite().all()
    )


def test_both_or_neither_of_blocks_and_photos(job: ImportJob) -> None:
    for half in (replace(job, photos=None), replace(job, cross_attention=None)):
        with pytest.raises(TrainingError, match="both or neither"):
            import_concept(half)


def test_nothing_is_written_when_something_is_refused(job: ImportJob, tmp_path: Path) -> None:
    torch.save({"*": torch.zeros(7)}, tmp_path / "narrow.pt")
    (tmp_path / "torn.pt").write_bytes(job.embedding.read_bytes()[:300])
    for name, problem in (("narrow.pt", "'\\*' is 7;"), ("torn.pt", "torn"), ("gone.pt", "is not a file")):
        with pytest.raises(CheckpointError, match=problem):
            import_concept(replace(job, embedding=tmp_path / name))
    with pytest.raises(CheckpointError, match="is no part of an image block"):
        import_concept(replace(job, cross_attention=tmp_path / "narrow.pt"))
    with pytest.raises(ConceptError, match="malformed id"):
        import_concept(replace(job, concept_id="../toy"))
    assert not job.out.parent.exists()


def test_a_package_is_no_checkpoint(job: ImportJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="embedding"):
        import_concept(replace(job, embedding=make_concept(tmp_path)))
