"""Random inputs of a graph, by its signature: whatever the export makes of a graph, this feeds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.denoiser.prepared import Prepared
from export.inputs import random_feed
from export.signatures import Signature

Feeds = dict[str, npt.NDArray[Any]]


def step_feeds(signature: Signature, prepared: Prepared, rows: int, latent: int) -> Feeds:
    """All inputs but the bank, `rows` rows; only the kept reference tokens, none of them padding."""
    side = latent // prepared.geometry.unet_multiple
    kept = {f"reference_tokens_{i}": count for i, count in enumerate(prepared.kept(latent))}
    sizes = {"batch": rows, "height": side, "width": side, "slots": 1, "vectors": 1, **kept}
    light = replace(signature, inputs=tuple(value for value in signature.inputs if value.kind != "weight"))
    feeds = {name: tensor.numpy() for name, tensor in random_feed(light, prepared.geometry, sizes).items()}
    for value in light.inputs:
        if value.kind == "share":
            feeds[value.name] = np.ones_like(feeds[value.name])
    return feeds


def bank_feeds(signature: Signature, prepared: Prepared, slots: int) -> Feeds:
    """The bank's arrays."""
    weights = replace(signature, inputs=tuple(value for value in signature.inputs if value.kind == "weight"))
    return {name: t.numpy() for name, t in random_feed(weights, prepared.geometry, {"slots": slots}).items()}
