"""Detached signatures of concept packages: OpenSSF model signing with an elliptic-curve key, which works offline."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import LaunchError
from vico.errors import ConceptError

_ACCEPTED = "a package with a signature of the key that this server trusts"


@dataclass(frozen=True)
class SignaturePolicy:
    """Packages must come with `<id>.safetensors.sig`, made by the private half of one key.

    Such a file is what `model_signing sign key` writes: a Sigstore bundle over the SHA-256 of the whole package.
    """

    public_key: Path
    """PEM, NIST P-256, P-384 or P-521."""

    def verify(self, file: Path, signature: bytes | None) -> None:
        """Raise ConceptError if there is no signature, or it is not the key's own over this very content."""
        if signature is None:
            raise ConceptError("concept", "it is not signed", _ACCEPTED)
        with tempfile.NamedTemporaryFile(suffix=".sig") as bundle:
            bundle.write(signature)
            bundle.flush()
            try:
                _verifier(self.public_key).verify(file, bundle.name)
            except Exception:  # noqa: BLE001 - hostile bundles raise anything, and anything is a refusal
                raise ConceptError("concept", "its signature is not of the trusted key", _ACCEPTED) from None


def open_policy(public_key: Path | None) -> SignaturePolicy | None:
    """The policy of a server; None without a key.

    Raises:
        LaunchError: the library is absent, or the file is not such a key.
    """
    if public_key is None:
        return None
    try:
        _verifier(public_key)
    except ImportError:
        raise LaunchError("require-signature", "needs model-signing", "pip install 'vico[signing]'") from None
    except Exception:  # noqa: BLE001 - whatever the parser says, the file is no key
        raise LaunchError("require-signature", "not a public key", "a PEM file, curve P-256, P-384 or P-521") from None
    return SignaturePolicy(public_key)


def _verifier(public_key: Path) -> Any:
    # a second to import, and only where signatures are asked for
    from model_signing import verifying

    config: Any = verifying.Config
    return config().use_elliptic_key_verifier(public_key=public_key)
