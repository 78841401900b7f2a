"""Certificates such as C2PA wants, and what a signed picture says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from serving.outputs.config import Claim, ProvenanceConfig
from serving.outputs.provenance import read_manifest

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
NOW = datetime.now(UTC)


def issue(name: str, key: Key, issuer: x509.Certificate | None, issuer_key: Key) -> x509.Certificate:
    """A certificate as C2PA wants it; without an issuer that of an authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
                         x509.NameAttribute(NameOID.COMMON_NAME, name)])  # fmt: skip
    authority = issuer is None
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "encipher_only", "decipher_only"), False)  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest)


def pem(what: Any) -> bytes:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    content: bytes = what.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return content


def identity(folder: Path, key: Key | None = None, *claims: Claim) -> ProvenanceConfig:
    """Files of a signer: certificate with its chain, key; `authority.pem` beside them."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = issue("Root", root_key, None, root_key)
    (folder / "authority.pem").write_bytes(pem(root))
    (folder / "chain.pem").write_bytes(pem(issue("Signer", key, root, root_key)) + pem(root))
    (folder / "key.pem").write_bytes(pem(key))
    (folder / "key.pem").chmod(0o600)
    return ProvenanceConfig(folder / "chain.pem", folder / "key.pem", claims)


def active(file: bytes, image_format: str = "png") -> dict[str, Any]:
    manifest = read_manifest(file, image_format)
    assert manifest is not None
    assert manifest["validation_state"] == "Valid"
    found: dict[str, Any] = manifest["manifests"][manifest["active_manifest"]]
    return found


def said(file: bytes, image_format: str = "png") -> dict[str, Any]:
    return {a["label"].split(".v")[0]: a["data"] for a in active(file, image_format)["assertions"]}
