"""Where a picture begins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def initial_noise(seed: int, index: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal noise for picture `index` of a request, the same on every machine and in every batch.

    Counter-based (Philox), keyed by both numbers: a picture depends neither on its siblings nor on their count.

    Args:
        seed: 0 to 2**64 - 1.
        index: number of the picture within its request, from 0.
        shape: of the latent, [4, h, w].
    """
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
