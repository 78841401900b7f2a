"""The options of `vico serve` that concern what is done with pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from serving.errors import LaunchError
from serving.outputs.config import Answer, CheckerConfig, Claim, ProvenanceConfig, WatermarkConfig

SafetyChecker = Annotated[
    str, typer.Option(help="module:function that judges every picture and preview before anybody sees it.")
]
SafetyAnswer = Annotated[Answer, typer.Option(help="In the place of a picture that it refuses.")]
SafetySeconds = Annotated[float, typer.Option(min=0.1, help="For one look; what was not judged by then is not shown.")]
WatermarkKeyFile = Annotated[
    Path | None, typer.Option(help="Secret of an invisible watermark; without it there is none.")
]
WatermarkId = Annotated[int, typer.Option(min=0, max=65535, help="What the watermark says.")]
ProvenanceCertificate = Annotated[
    Path | None, typer.Option(help="Certificate with its chain (PEM) that signs the files' metadata (C2PA).")
]
ProvenanceKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).")]
ProvenanceClaims = Annotated[
    list[Claim] | None, typer.Option("--provenance-claim", help="What the metadata may tell; repeatable.")
]


def checker_config(target: str, answer: Answer, seconds: float) -> CheckerConfig | None:
    """The checker, if there is to be one."""
    if not target:
        return None
    return CheckerConfig(target, answer, seconds, python_path=os.environ.get("PYTHONPATH", ""))


def watermark_config(key_file: Path | None, deployment: int) -> WatermarkConfig | None:
    """The watermark, if there is to be one."""
    return WatermarkConfig(key_file, deployment) if key_file else None


def provenance_config(
    certificate: Path | None, key: Path | None, claims: list[Claim] | None
) -> ProvenanceConfig | None:
    """The signed metadata, if there is to be any.

    Raises:
        LaunchError: one of the two files is not given.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise LaunchError("provenance_certificate", "not given together with provenance_key", "both or neither")
    return ProvenanceConfig(certificate, key, tuple(claims or ()))
