from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fake_runners import GRAPHSET, WIDTH, Failing, FakeDenoiser, FakeReferenceEncoder, make_engine
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from serving.caller import Caller
from serving.concepts.admission import Admission
from serving.concepts.folder import FolderSource
from serving.concepts.loading import Loader
from serving.concepts.registry import Registry
from serving.concepts.store import ConceptStore
from serving.errors import InvalidField, ServingError
from serving.fields import RawArray
from serving.loop import EngineLoop
from serving.outputs.encoding import encode_image
from serving.report import StageReport
from serving.request import GenerateRequest
from serving.runner import Feeds, Results
from serving.seal import Seal
from serving.stages.image_encoder import ImageEncoderStage
from serving.stages.stage import bytes_tensor, text_tensor
from serving.stages.text_encoder import TextEncoderStage
from serving.stages.unet_loop import UnetLoopStage
from serving.stages.vae_decoder import VaeDecoderStage, to_pixels
from tests.helpers.concepts import make_concept
from vico.errors import PromptError, VicoError
from vico.sampling import initial_noise

SEAL = Seal("secret")
CALLER = bytes_tensor([Caller("shop", "acme", ("*",), "call-1").sealed(SEAL)])


class FakeTextEncoder:
    """Context = ids, with the learned vectors in the placeholder's place."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, feeds: Feeds) -> Results:
        self.batches.append(len(feeds["input_ids"]))
        context = np.repeat(feeds["input_ids"][:, :, None], WIDTH, axis=2).astype(np.float32)
        for b, positions in enumerate(feeds["placeholder_position"]):
            for v, position in enumerate(positions):
                if position >= 0:
                    context[b, position] = feeds["token_embedding"][b, v]
        return {"context": context}


class FakeVae:
    """Eight by eight pixels to a cell; counts the rows of every run."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, feeds: Feeds) -> Results:
        if "image" in feeds:
            return {"latent": np.repeat(feeds["image"][:, :1, ::8, ::8], 4, axis=1)}
        self.batches.append(len(feeds["latent"]))
        return {"image": feeds["latent"][:, :3].repeat(8, axis=2).repeat(8, axis=3)}


class Server:
    """The four stages in one process."""

    def __init__(self, path: Path) -> None:
        self.registry_folder = path / "registry"
        self.registry_folder.mkdir()
        store = ConceptStore(path / "store", 2**20)
        source = FolderSource(self.registry_folder)
        registry = Registry(source, Loader(source, store, Admission(GRAPHSET), 2**30))
        words = {word: i for i, word in enumerate(["?", "a", "photo", "of", "on", "red"])}
        tokenizer = Tokenizer(WordLevel(words, unk_token="?"))
        tokenizer.pre_tokenizer = Whitespace()
        self.runner, self.vae, self.denoiser = FakeTextEncoder(), FakeVae(), FakeDenoiser()
        self.engine = make_engine(store.open, denoiser=self.denoiser)
        self.text = TextEncoderStage(GRAPHSET, self.runner, tokenizer, registry, 2**20, SEAL)
        self.image = ImageEncoderStage(GRAPHSET, self.vae, store, SEAL)
        self.loop = UnetLoopStage(GRAPHSET, EngineLoop(self.engine, 8), SEAL)
        self.decoder = VaeDecoderStage(self.vae, GRAPHSET.vae_factor, SEAL)

    def tensors(self, **fields: Any) -> dict[str, RawArray]:
        """All tensors of one way through the stages."""
        tensors = {"caller": CALLER} | {name: _array(value) for name, value in fields.items()}
        for stage in (self.text, self.image, self.loop, self.decoder):
            tensors |= stage(tensors)
        self.engine.check_integrity()
        return tensors


def _array(value: Any) -> RawArray:
    if isinstance(value, str | bytes):
        return bytes_tensor([value.encode() if isinstance(value, str) else value])
    return np.array([value], np.float32 if isinstance(value, float) else np.int32)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def called_by(caller: Caller) -> dict[str, RawArray]:
    return {"caller": bytes_tensor([caller.sealed(SEAL)])}


def info_of(tensors: dict[str, RawArray]) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(tensors["info"][0])
    return info


def test_the_whole_way_without_a_concept(server: Server) -> None:
    tensors = server.tensors(prompt="a photo", num_images=3, steps=2, height=16, width=48)
    images = [Image.open(io.BytesIO(data)) for data in tensors["images"]]
    assert [(image.format, image.size) for image in images] == [("PNG", (48, 16))] * 3
    assert tensors["reference_latent"].shape == (0, 4, 4, 4)
    assert server.denoiser.batches == [6, 6], "the pictures of a request share the batch"
    info = info_of(tensors)
    batch = info.pop("batch")
    assert {name: batch.pop(name) for name in ("first_step", "last_step", "lanes", "steps")} == {
        "first_step": 1, "last_step": 2, "lanes": 3, "steps": 2,
    }  # fmt: skip
    assert 0 <= batch.pop("queue_seconds") < batch.pop("seconds")
    assert batch == {"predicted_seconds": None}
    assert set(info.pop("timings")) == {"text_encoder", "image_encoder", "unet_loop", "vae_decoder"}
    assert info == {
        "seed": 0, "preset": "quality", "steps": 2, "sampler": "dpmpp_2m", "height": 16, "width": 48, "concept": "",
        "warnings": [],
    }  # fmt: skip


def test_the_whole_way_with_a_concept(server: Server) -> None:
    path = make_concept(server.registry_folder, "toy")
    with_concept = server.tensors(prompt="a photo of *", concept="toy", steps=2)
    name = info_of(with_concept)["concept"]
    assert name.startswith("toy@")
    assert len(name) == 4 + 64
    assert with_concept["placeholder_position"].tolist() == [4]
    again = server.tensors(prompt="a photo of *", concept=name, steps=2)
    assert again["images"].tolist() == with_concept["images"].tolist()
    weaker = server.tensors(prompt="a photo of *", concept="toy", steps=2, image_guidance=0.3)
    assert weaker["images"].tolist() != again["images"].tolist()
    path.unlink()
    with pytest.raises(ServingError, match="no concept 'toy'"):
        server.tensors(prompt="a photo of *", concept="toy")


def test_without_strength_a_concept_is_only_its_word(server: Server) -> None:
    make_concept(server.registry_folder, "toy")
    server.tensors(prompt="*", concept="toy", steps=1, image_guidance=0.0)
    assert server.engine.references.cache.size_bytes == 0


def test_image_k_has_noise_k(server: Server) -> None:
    several = server.tensors(prompt="a", num_images=3, steps=1)["latent"]
    assert len({latent.tobytes() for latent in several}) == 3
    np.testing.assert_array_equal(server.tensors(prompt="a", steps=1)["latent"][0], several[0])
    assert initial_noise(0, 1, (4, 4, 4)).tobytes() != initial_noise(0, 0, (4, 4, 4)).tobytes()


def test_a_photo_of_the_request_replaces_the_references(server: Server) -> None:
    make_concept(server.registry_folder, "toy")
    file = io.BytesIO()
    Image.new("RGB", (50, 30), "white").save(file, "JPEG")
    tensors = server.tensors(prompt="*", concept="toy", steps=1, reference_image=file.getvalue())
    assert tensors["reference_latent"].shape == (1, 4, 4, 4)
    assert tensors["reference_latent"].min() > 0.9


@pytest.mark.parametrize("photo", [b"nonsense", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_bad_photo_is_refused_by_the_first_stage(server: Server, photo: bytes) -> None:
    make_concept(server.registry_folder, "toy")
    with pytest.raises(InvalidField, match=r"^reference_image: "):
        server.text(
            {"caller": CALLER, "prompt": _array("*"), "concept": _array("toy"), "reference_image": _array(photo)}
        )


@pytest.mark.parametrize("prompt", ["a photo", "* and *", "a" + " photo" * 80 + " *"])
def test_placeholders_are_counted(server: Server, prompt: str) -> None:
    make_concept(server.registry_folder, "toy")
    with pytest.raises(PromptError, match="placeholder"):
        server.text({"caller": CALLER, "prompt": _array(prompt), "concept": _array("toy")})


def test_a_star_without_a_concept_is_a_word_like_any_other(server: Server) -> None:
    assert server.text({"caller": CALLER, "prompt": _array("* a *")})


def test_long_prompts_are_cut_with_a_warning(server: Server) -> None:
    long = "a " * 100
    codes = [w["code"] for w in info_of(server.tensors(prompt=long, negative_prompt=long, steps=1))["warnings"]]
    assert codes == ["negative_prompt_truncated", "prompt_truncated"]


def test_contexts_are_kept(server: Server) -> None:
    make_concept(server.registry_folder, "toy", seed=1)
    first = server.text({"caller": CALLER, "prompt": _array("a *"), "concept": _array("toy")})
    second = server.text({"caller": CALLER, "prompt": _array("a *"), "concept": _array("toy")})
    assert server.runner.batches == [2]
    np.testing.assert_array_equal(first["context"], second["context"])
    server.text({"caller": CALLER, "prompt": _array("a red *"), "concept": _array("toy")})
    make_concept(server.registry_folder, "toy", seed=2)
    replaced = server.text({"caller": CALLER, "prompt": _array("a *"), "concept": _array("toy")})
    assert server.runner.batches == [2, 1, 1]
    assert (replaced["context"][1] != first["context"][1]).any()


def test_what_the_reference_stream_reads(server: Server) -> None:
    """The prompts themselves, or in both halves the concept's own prompt whatever is asked."""
    make_concept(server.registry_folder, "toy")
    free = server.text({"caller": CALLER, "prompt": _array("a red *"), "concept": _array("toy")})
    np.testing.assert_array_equal(free["reference_context"], free["context"])
    assert free["placeholder_position"].tolist() == [3]
    make_concept(server.registry_folder, "fixed", reference_context="concept")
    both = [
        server.text({"caller": CALLER, "prompt": _array(p), "concept": _array("fixed")})
        for p in ("* on red", "a photo of a *")
    ]
    np.testing.assert_array_equal(both[0]["reference_context"], both[1]["context"][[1, 1]])
    np.testing.assert_array_equal(both[1]["reference_context"], both[1]["context"][[1, 1]])
    assert [one["placeholder_position"].tolist() for one in both] == [[5], [5]]


def test_reference_features_of_a_fixed_context_are_known_before_the_request(server: Server) -> None:
    make_concept(server.registry_folder, "fixed", reference_context="concept")
    encoder = server.engine.references._runner
    assert isinstance(encoder, FakeReferenceEncoder)
    server.tensors(prompt="a *", concept="fixed", steps=3)
    assert sum(encoder.batches) == 3, "one row for both halves"
    server.tensors(prompt="red * on a photo", negative_prompt="of", concept="fixed", steps=3)
    server.tensors(prompt="red *", concept="fixed", steps=3, guidance_scale=1.0)
    assert sum(encoder.batches) == 3


def test_a_client_that_calls_a_later_stage_is_refused(server: Server) -> None:
    make_concept(server.registry_folder, "toy")
    good = server.tensors(prompt="*", concept="toy", steps=1)
    request = json.loads(SEAL.open(good["request"][0]))
    forged = GenerateRequest(**request | {"concept": "toy@../../etc/passwd", "height": 10**6}).to_json()
    for sealed in (forged.encode(), bytes(64) + forged.encode(), b""):
        for stage in (server.image, server.loop, server.decoder):
            with pytest.raises(InvalidField, match=r"^request: not sealed"):
                stage(good | {"request": bytes_tensor([sealed])})
    wrong: list[tuple[str, npt.NDArray[Any]]] = [
        ("context", np.zeros((2, 77, WIDTH + 1), np.float32)),
        ("reference_context", np.zeros((1, 77, WIDTH), np.float32)),
        ("reference_latent", np.zeros((0, 4, 4, 4), np.float32)),
        ("reference_latent", np.zeros((1, 4, 400, 4), np.float32)),
        ("placeholder_position", np.array([77])),
    ]
    for name, array in wrong:
        with pytest.raises(InvalidField, match="not what the stage before it gives"):
            server.loop(good | {name: array})
    with pytest.raises(InvalidField):
        server.decoder(good | {"latent": np.zeros((1, 4, 99, 99), np.float32)})


def test_a_broken_graph_leaves_the_engine_empty(server: Server) -> None:
    make_concept(server.registry_folder, "toy")
    engine = make_engine(server.image._store.open, denoiser=Failing())
    broken = UnetLoopStage(GRAPHSET, EngineLoop(engine, 8), SEAL)
    tensors = server.tensors(prompt="*", concept="toy", steps=1)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            broken(tensors)
        engine.check_integrity()
        assert engine.idle


def test_a_concept_lost_between_stages_is_refused(server: Server) -> None:
    make_concept(server.registry_folder, "toy")
    tensors = server.tensors(prompt="*", concept="toy", steps=1)
    engine = make_engine(ConceptStore(server.registry_folder / "empty", 0).open)
    lost = UnetLoopStage(GRAPHSET, EngineLoop(engine, 8), SEAL)
    with pytest.raises(VicoError, match="no longer kept"):
        lost(tensors)


def test_large_pictures_are_decoded_in_few_rows_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.decoding.ROW_PIXELS", 2 * 32 * 32)
    server.tensors(prompt="a", num_images=5, steps=1)
    assert server.vae.batches == [2, 2, 1]


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp", "raw"])
def test_formats_hold_the_picture(output_format: str) -> None:
    ramp = np.linspace(-1.2, 1.2, 16 * 16, dtype=np.float32).reshape(1, 16, 16).repeat(3, axis=0)
    pixels = to_pixels(ramp)
    assert (pixels.min(), pixels.max()) == (0, 255)
    data = encode_image(pixels, output_format)
    if output_format == "raw":
        decoded = np.frombuffer(data, np.uint8).reshape(16, 16, 3)
    else:
        decoded = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decoded.astype(int) - pixels).max() <= (0 if output_format in ("png", "raw") else 12)


def test_bytes_keep_their_trailing_zeros() -> None:
    assert bytes_tensor([b"a\0\0", b""]).tolist() == [b"a\0\0", b""]
    assert text_tensor("ü")[0].decode() == "ü"


def test_reports_round_trip() -> None:
    report = StageReport("x", 0.5)
    assert StageReport.from_json(report.to_json()) == report
