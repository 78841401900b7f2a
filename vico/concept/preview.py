"""The linear map from a base's latents to colours, from which previews are made."""

from __future__ import annotations

RGB = tuple[float, float, float]
LatentToRGB = tuple[RGB, ...]
"""A row for every channel of the latent and one for the constant; colours in [−1, 1]."""

SD1_LATENT_TO_RGB: LatentToRGB = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
    (0.0, 0.0, 0.0),
)
"""Of the VAE of Stable Diffusion 1.x, as measured by Kevin Turner (keturn),
https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204."""
