"""What an exported graph is asked, and what it must answer.

The answers come from torch, and where the contract promises an equality (guidance 0 is plain Stable Diffusion,
reference tokens may be pruned and padded) from the other side of that equality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from export.inputs import Feed, Sizes, random_feed
from export.modules import Denoiser
from export.signatures import Geometry, Signature


@dataclass(frozen=True, eq=False)
class Case:
    """One run of a graph."""

    label: str
    feed: Feed
    expected: tuple[Tensor, ...]


def cases(module: nn.Module, signature: Signature, geometry: Geometry) -> Iterator[Case]:
    """Runs of one graph: one row and several, two sizes; for the denoiser also what it promises about concepts."""
    one: Sizes = {"batch": 1, "height": 2, "width": 3, "slots": 1, "vectors": 1}
    several: Sizes = {"batch": 3, "height": 4, "width": 2, "slots": 4, "vectors": 3}
    for label, sizes in (("one row", one), ("three rows", several)):
        yield _plain(label, module, random_feed(signature, geometry, sizes, seed=1))
    if isinstance(module, Denoiser):
        feed = random_feed(signature, geometry, several, seed=2)
        sites = range(len(geometry.sites))
        yield _plain("mixed slots", module, feed | {"slot": torch.tensor([3, 0, 2])})
        yield _plain("empty mask", module, feed | _masks(feed, sites, 0))
        yield _pruned(module, feed, sites)
        yield _without_concept(module, feed, sites)


def _plain(label: str, module: nn.Module, feed: Feed) -> Case:
    with torch.no_grad():
        return Case(label, feed, tuple(module(*feed.values())))


def _masks(feed: Feed, sites: range, row: int) -> Feed:
    """The masks with nothing kept in one row."""
    masks = {f"reference_mask.{i}": feed[f"reference_mask.{i}"].clone() for i in sites}
    for mask in masks.values():
        mask[row] = 0
    return masks


def _pruned(module: nn.Module, feed: Feed, sites: range) -> Case:
    """Only the kept tokens, padded with masked ones to the longest row, against all tokens."""
    short: Feed = {}
    for i in sites:
        features, mask = feed[f"reference_features.{i}"], feed[f"reference_mask.{i}"]
        order = mask.argsort(dim=1, descending=True, stable=True)[:, : int(mask.sum(dim=1).max())]
        kept = mask.gather(1, order)
        short[f"reference_features.{i}"] = features.gather(1, order[..., None].expand(-1, -1, features.shape[2]))
        short[f"reference_features.{i}"] *= kept[..., None]
        short[f"reference_mask.{i}"] = kept
    return replace(_plain("pruned and padded", module, feed), feed=feed | short)


def _without_concept(module: Denoiser, feed: Feed, sites: range) -> Case:
    """Guidance 0 and one zero reference token, against the U-Net that knows nothing of concepts."""
    nothing: Feed = {"image_guidance": torch.zeros_like(feed["image_guidance"])}
    for i in sites:
        nothing[f"reference_features.{i}"] = torch.zeros_like(feed[f"reference_features.{i}"][:, :1])
        nothing[f"reference_mask.{i}"] = torch.zeros_like(feed[f"reference_mask.{i}"][:, :1])
    with torch.no_grad():
        plain = module.unet(feed["latent"], feed["timestep"], feed["context"], return_dict=False)[0]
    return Case("no concept = plain U-Net", feed | nothing, (plain,))
