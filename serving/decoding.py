"""How latents are decoded, whoever has it done: a picture's last bits depend on what runs together."""

from __future__ import annotations

ROW_PIXELS = 512 * 512
"""Pixels decoded in one run: the decoder's activations are the largest of all graphs."""


def rows_of_a_run(height: int, width: int) -> int:
    """How many pictures of so many pixels are decoded together."""
    return max(1, ROW_PIXELS // (height * width))
