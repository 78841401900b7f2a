"""Signed metadata in the files: a C2PA manifest that says "made by AI", and by which software.

It holds no prompt, and concept and seed only where the operator permits. Whoever strips a file of metadata strips it of
this: the watermark is what is left then.
"""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.errors import LaunchError
from serving.outputs.config import Claim, ProvenanceConfig
from serving.outputs.encoding import encode_image
from serving.request import GenerateRequest
from serving.secret_file import require_private

if TYPE_CHECKING:
    from pathlib import Path

MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type."""
GENERATION = "vico.generation"
"""Label of the assertion that holds `concept` and `seed`."""

# no thumbnail: it would be larger than the rest, and another picture to be checked
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class Signer:
    """Signs files with the operator's certificate.

    Args:
        config: its files, read once.

    Raises:
        LaunchError: the library is not installed; certificate or key are absent, unfit, or not of each
            other, or others may read the key.
    """

    def __init__(self, config: ProvenanceConfig) -> None:
        self._claims = config.claims
        self._c2pa = _library()
        certificate = _pem("provenance_certificate", config.certificate)
        key = _pem("provenance_key", config.key, private=True)
        software = {"name": "vico", "version": version("vico")}
        self._software = software
        try:
            info = self._c2pa.C2paSignerInfo(_algorithm(key), certificate, key, None)
            self._signer = self._c2pa.Signer.from_info(info)
            self._context = self._c2pa.Context(self._c2pa.Settings.from_dict(_SETTINGS))
            proof = self._signed(encode_image(np.zeros((8, 8, 3), np.uint8), "png"), "png", {})
            whole = (read_manifest(proof) or {}).get("validation_state") in {"Valid", "Trusted"}
        except (self._c2pa.C2paError, ValueError) as error:
            raise LaunchError("provenance_certificate", f"it cannot sign ({error})", _ACCEPTED) from None
        if not whole:
            raise LaunchError("provenance_key", "not the key of the certificate", _ACCEPTED)

    def sign(self, file: bytes, request: GenerateRequest, index: int) -> bytes:
        """A PNG, JPEG or WebP file → the same with a manifest; `index` of the picture in its request."""
        known: dict[Claim, object] = {Claim.SEED: {"seed": request.seed, "image": index}}
        if request.concept:
            known[Claim.CONCEPT] = request.concept
        told = {str(claim): known[claim] for claim in self._claims if claim in known}
        return self._signed(file, request.output_format, told)

    def _signed(self, file: bytes, image_format: str, told: dict[str, object]) -> bytes:
        created = {"action": "c2pa.created", "digitalSourceType": MADE_BY_AI, "softwareAgent": self._software}
        assertions: list[dict[str, Any]] = [{"label": "c2pa.actions", "data": {"actions": [created]}}]
        if told:
            assertions.append({"label": GENERATION, "data": told})
        manifest = {"claim_generator_info": [self._software], "assertions": assertions}
        signed = io.BytesIO()
        with self._c2pa.Builder(json.dumps(manifest), self._context) as builder:
            builder.sign(self._signer, f"image/{image_format}", io.BytesIO(file), signed)
        return signed.getvalue()


_ACCEPTED = "PEM files of an EC, RSA or Ed25519 key and its certificate with its chain"


def read_manifest(file: bytes, image_format: str = "png", trusted: str = "") -> dict[str, Any] | None:
    """What a file says of itself, with the library's verdict on it; None = nothing.

    Args:
        file: PNG, JPEG or WebP.
        image_format: which of them.
        trusted: authorities (PEM) whose certificates are believed; "" = none: a whole signature of anybody is "Valid".

    Raises:
        LaunchError: the library is not installed.
    """
    c2pa = _library()
    settings: dict[str, Any] = dict(_SETTINGS)
    if trusted:
        settings |= {"trust": {"user_anchors": trusted}}
    try:
        with c2pa.Reader(f"image/{image_format}", io.BytesIO(file), context=c2pa.Context(
            c2pa.Settings.from_dict(settings))) as reader:  # fmt: skip
            found: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in str(error):
            return None
        return {"validation_state": "Invalid", "validation_status": [{"code": str(error)}]}
    return found


def _library() -> Any:
    try:
        import c2pa
    except ImportError:
        raise LaunchError(
            "provenance_certificate", "the library c2pa-python is not installed", "pip install 'vico[provenance]'"
        ) from None
    return c2pa


def _pem(name: str, path: Path, *, private: bool = False) -> bytes:
    try:
        status, content = path.stat(), path.read_bytes()
    except OSError:
        raise LaunchError(name, "cannot be read", "the path of a PEM file") from None
    if private:
        require_private(status, name)
    return content


def _algorithm(key: bytes) -> bytes:
    """The name that C2PA has for the key's.

    Raises:
        ValueError: not a key, or not of a kind that C2PA has.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    loaded = load_pem_private_key(key, None)
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name in _CURVES:
        return _CURVES[loaded.curve.name].encode()
    if isinstance(loaded, rsa.RSAPrivateKey):
        return b"ps256"
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    raise ValueError("a key of another kind")
