"""Captions for training: the "imagenet small" family of Textual Inversion (arXiv 2208.01618)."""

from __future__ import annotations

TEMPLATES = (
    "a photo of a {}",
    "a rendering of a {}",
    "a cropped photo of the {}",
    "the photo of a {}",
    "a photo of a clean {}",
    "a photo of a dirty {}",
    "a dark photo of the {}",
    "a photo of my {}",
    "a photo of the cool {}",
    "a close-up photo of a {}",
    "a bright photo of the {}",
    "a cropped photo of a {}",
    "a photo of the {}",
    "a good photo of the {}",
    "a photo of one {}",
    "a close-up photo of the {}",
    "a rendition of the {}",
    "a photo of the clean {}",
    "a rendition of a {}",
    "a photo of a nice {}",
    "a good photo of a {}",
    "a photo of the nice {}",
    "a photo of the small {}",
    "a photo of the weird {}",
    "a photo of the large {}",
    "a photo of a cool {}",
    "a photo of a small {}",
)
"""With {} where the placeholder stands."""

SCENE_TEMPLATES = tuple(
    f"a photo of a {{}} {scene}"
    for scene in (
        "in the water", "in front of a brick wall", "on a checkered floor", "on a red carpet", "on a wooden floor",
        "on a gravel path", "in a kitchen", "in a city street", "in the mountains", "on a white background",
        "on a sofa", "in the rain",
    )
)  # fmt: skip
"""Captions that say where the thing is, for `Recipe.scene_captions`."""
