"""Equal digests mean equal graphs: whatever a graph is made from is in its digest."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from export import keys
from export.inputs import random_feed
from export.keys import ExportOptions, graph_digest, source_files
from export.modules import build_module, geometry_of
from export.signatures import GRAPH_NAMES, signatures
from vico.base import Base
from vico.concept.graphset import GraphName

BASE = "0" * 64
ROOT = Path(keys.__file__).parents[1]


def test_every_ingredient_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [
        graph_digest(BASE, "denoiser", ExportOptions()),
        graph_digest("1" * 64, "denoiser", ExportOptions()),
        graph_digest(BASE, "vae_decoder", ExportOptions()),
        graph_digest(BASE, "denoiser", ExportOptions(opset=24)),
    ]
    monkeypatch.setattr(keys, "version", lambda library: "another")
    digests.append(graph_digest(BASE, "denoiser", ExportOptions()))
    monkeypatch.setattr(keys, "source_digest", lambda name: "another")
    digests.append(graph_digest(BASE, "denoiser", ExportOptions()))
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)


def test_the_digest_is_stable() -> None:
    first, second = (graph_digest(BASE, "text_encoder", ExportOptions()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_all_code_that_runs_in_a_graph_is_in_its_digest(base: Base, name: GraphName) -> None:
    geometry = geometry_of(base)
    module, signature = build_module(base, name), signatures(geometry)[name]
    sizes = {"batch": 2, "height": 2, "width": 2, "slots": 2, "vectors": 1}
    feed = random_feed(signature, geometry, sizes)
    ran: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        ran.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        with torch.no_grad():
            module(*feed.values())
    finally:
        sys.setprofile(None)
    ours = {Path(file) for file in ran if Path(file).is_relative_to(ROOT) and "site-packages" not in file}
    assert ours - {Path(__file__)} <= set(source_files(name)), "name these files in export/keys.py"
