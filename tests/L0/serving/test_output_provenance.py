"""Signed metadata: whole, of the operator's certificate, and with no word more than is permitted."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from PIL import Image
from test_serving_stages import SEAL, Server
from test_stream_stage import Streams
from typer.testing import CliRunner

from serving.errors import LaunchError
from serving.outputs.cli import verify_image
from serving.outputs.config import Claim, ProvenanceConfig
from serving.outputs.encoding import encode_image
from serving.outputs.finish import Finisher
from serving.outputs.provenance import GENERATION, MADE_BY_AI, Signer, read_manifest
from serving.outputs.watermark import Watermark
from serving.request import GenerateRequest
from serving.stages.vae_decoder import VaeDecoderStage
from tests.helpers.signing import Key, identity, pem, said

c2pa = pytest.importorskip("c2pa", reason="the library is not installed: pip install 'vico[provenance]'")

REQUEST = GenerateRequest(
    prompt="a secret wish", negative_prompt="a secret dislike", concept="bear@" + "0" * 64, seed=7, steps=1,
    sampler="ddim", guidance_scale=1.0, image_guidance=1.0, height=64, width=64, num_images=1, output_format="png",
)  # fmt: skip
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_every_format_is_signed_and_its_pixels_stay(tmp_path: Path, image_format: str) -> None:
    file = encode_image(PICTURE, image_format)
    signed = Signer(identity(tmp_path)).sign(file, replace(REQUEST, output_format=image_format), 0)
    [action] = said(signed, image_format)["c2pa.actions"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == MADE_BY_AI
    assert action["softwareAgent"]["name"] == "vico"
    before, after = (np.asarray(Image.open(io.BytesIO(content))) for content in (file, signed))
    assert np.array_equal(before, after)
    assert len(signed) < len(file) + 8192


@pytest.mark.parametrize("kind", ["secp384r1", "ed25519"])
def test_other_keys_sign_too(tmp_path: Path, kind: str) -> None:
    key: Key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP384R1())
    assert said(Signer(identity(tmp_path, key)).sign(encode_image(PICTURE, "png"), REQUEST, 0))


def test_no_prompt_and_nothing_that_was_not_permitted(tmp_path: Path) -> None:
    file = encode_image(PICTURE, "png")
    told = {
        (): None,
        (Claim.CONCEPT,): {"concept": REQUEST.concept},
        (Claim.SEED, Claim.CONCEPT): {"concept": REQUEST.concept, "seed": {"seed": 7, "image": 3}},
    }
    for claims, expected in told.items():
        signed = Signer(identity(tmp_path, None, *claims)).sign(file, REQUEST, 3)
        assert said(signed).get(GENERATION) == expected
        assert b"secret" not in signed
        assert (b"bear" in signed) == bool(claims)


def test_an_altered_picture_is_noticed(tmp_path: Path) -> None:
    signed = bytearray(Signer(identity(tmp_path)).sign(encode_image(PICTURE, "png"), REQUEST, 0))
    place = len(signed) - 200
    signed[place] ^= 1
    found = read_manifest(bytes(signed))
    assert found is not None
    assert found["validation_state"] == "Invalid"


def test_what_cannot_sign_stops_the_start(tmp_path: Path) -> None:
    good = identity(tmp_path)
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    odd = pem(ec.generate_private_key(ec.SECP256K1()))
    for name, content, words in (
        ("key.pem", other, "provenance_key: not the key of the certificate"),
        ("key.pem", b"no key", "provenance_certificate: it cannot sign"),
        ("key.pem", odd, "provenance_certificate: it cannot sign"),
        ("chain.pem", b"no certificate", "provenance_certificate: "),
    ):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LaunchError, match=words):
            Signer(good)
        (tmp_path / name).write_bytes(kept)
    good.key.chmod(0o644)
    with pytest.raises(LaunchError, match="provenance_key: others than its owner may read it"):
        Signer(good)
    with pytest.raises(LaunchError, match="provenance_key: cannot be read"):
        Signer(ProvenanceConfig(good.certificate, tmp_path / "none"))


def test_the_library_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(LaunchError, match=r"c2pa-python is not installed.*vico\[provenance\]"):
        Signer(identity(tmp_path))


def marked_and_signed(tmp_path: Path, **fields: Any) -> bytes:
    server = Server(tmp_path)
    decode = server.vae.run
    # no black and white: a mark needs room on both sides
    server.vae.run = lambda feeds: {"image": 0.3 * np.tanh(decode(feeds)["image"])}  # type: ignore[method-assign]
    finish = Finisher(watermark=Watermark(b"0123456789abcdef", 5), signer=Signer(identity(tmp_path, None, Claim.SEED)))
    server.decoder = VaeDecoderStage(server.vae, 8, SEAL, finish)
    image: bytes = server.tensors(prompt="a secret", steps=1, height=64, width=64, **fields)["images"][0]
    return image


def test_the_decoder_marks_before_it_signs(tmp_path: Path) -> None:
    image = marked_and_signed(tmp_path, num_images=2)
    assert said(image)[GENERATION]["seed"] == {"seed": 0, "image": 0}
    read = Watermark(b"0123456789abcdef").read(np.asarray(Image.open(io.BytesIO(image))), search=False)
    assert read is not None
    assert read.deployment == 5


@pytest.mark.parametrize(("rows", "image_format"), [(1, "png"), (2, "jpeg"), (8, "webp")])
def test_a_streams_pictures_are_signed_each_under_its_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, image_format: str
) -> None:
    """Also where they are decoded in parts, each of which begins anew for the decoder."""
    monkeypatch.setattr("serving.decoding.ROW_PIXELS", rows * 32 * 32)
    streams = Streams(tmp_path, Server(tmp_path))
    finish = Finisher(signer=Signer(identity(tmp_path, None, Claim.SEED)))
    streams.server.decoder = VaeDecoderStage(streams.server.vae, 8, SEAL, finish)
    try:
        images = streams.run(prompt="a secret", num_images=5, steps=2, output_format=image_format).images()
    finally:
        streams.server.loop.close()
        streams.stage.close()
    assert streams.server.vae.batches == [min(rows, 5 - start) for start in range(0, 5, rows)], "so many parts"
    told = [said(image, image_format) for image in images]
    assert [one[GENERATION]["seed"] for one in told] == [{"seed": 0, "image": index} for index in range(5)]
    assert {one["c2pa.actions"]["actions"][0]["digitalSourceType"] for one in told} == {MADE_BY_AI}


def test_raw_pixels_are_marked_and_have_no_room_for_more(tmp_path: Path) -> None:
    image = np.frombuffer(marked_and_signed(tmp_path, output_format="raw"), np.uint8).reshape(64, 64, 3)
    assert Watermark(b"0123456789abcdef").read(image, search=False) is not None


def cli(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(verify_image)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout + (str(result.exception) if result.exception else "")


def test_the_command_tells_what_there_is(tmp_path: Path) -> None:
    file, secret, plain = (tmp_path / name for name in ("image.png", "secret", "plain.jpg"))
    file.write_bytes(marked_and_signed(tmp_path))
    secret.write_text("0123456789abcdef")
    secret.chmod(0o600)
    plain.write_bytes(encode_image(PICTURE, "jpeg"))
    key = ("--watermark-key-file", str(secret), "--no-search")
    status, words = cli(str(file), *key, "--trust", str(tmp_path / "authority.pem"))
    assert status == 0
    for part in ("Trusted", "Acme / Signer", "made by AI", "yes", "id 5", '"seed": 0'):
        assert part in words, words
    assert json.loads(cli(str(file), *key, "--json")[1])["watermark"] == "id 5, at 1 times its size"
    (tmp_path / "other").mkdir()
    identity(tmp_path / "other")
    assert cli(str(file), "--trust", str(tmp_path / "other" / "authority.pem"))[0] == 1, "of somebody else"
    assert "Valid" in cli(str(file))[1]
    assert "signingCredential.untrusted" in cli(str(file))[1]
    assert json.loads(cli(str(file), "--json")[1])["signature"] == "Valid"
    status, words = cli(str(plain), *key)
    assert (status, "none" in words) == (1, True)
    (tmp_path / "no-picture").write_bytes(b"GIF89a")
    status, words = cli(str(tmp_path / "no-picture"))
    assert (status, "file: cannot be read" in words) == (1, True)
    stripped = tmp_path / "stripped.png"
    Image.open(file).save(stripped)
    status, words = cli(str(stripped), *key)
    assert (status, "id 5" in words) == (0, True), "metadata is lost easily; the mark is not"
