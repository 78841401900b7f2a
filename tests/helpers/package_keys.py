"""Key pairs that sign concept packages, as `model_signing` makes and checks such signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class PackageKey:
    """A key pair in files."""

    def __init__(self, folder: Path, name: str) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
        self.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(key.public_key().public_bytes(pem, public))

    def sign(self, package: Path) -> Path:
        """Write the signature beside the package; returns its path."""
        from model_signing import signing

        signature = package.with_name(f"{package.name}.sig")
        config: Any = signing.Config
        config().use_elliptic_key_signer(private_key=self.private).sign(package, signature)
        return signature
