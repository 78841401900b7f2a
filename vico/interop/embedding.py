"""Learned words from elsewhere: the published ViCo's, Textual Inversion's, diffusers' and A1111's embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vico.interop.arrays import Array
from vico.interop.errors import CheckpointError
from vico.interop.tensor_file import read_tensor_file

FIELD = "embedding"
MAX_VECTORS = 16
_ACCEPTED = "string_to_param of ViCo, Textual Inversion or A1111, or one tensor for each token as diffusers writes"


def read_embedding(path: Path, width: int, token: str | None = None) -> npt.NDArray[np.float32]:
    """The learned vectors [V, D] of a token; `token` chooses where a file holds several.

    Layouts: `{"string_to_param": {token: [V, D]}, …}` (arXiv 2208.01618's code, ViCo, A1111), `{token: [D] or [V, D]}`
    (diffusers), `{"emb_params": [V, D]}` (A1111's safetensors).

    Raises:
        CheckpointError: the file is unsafe or torn, holds no or several tokens, or vectors of another width than D =
            `width`, or not finite.
    """
    words = _words(read_tensor_file(path, FIELD))
    if token is None and len(words) > 1:
        raise CheckpointError(FIELD, f"it holds {len(words)} tokens", f"--token with one of {_listed(words)}")
    if not words or (token is not None and token not in words):
        problem = "it holds no token" if not words else f"it holds no token {token!r}"
        raise CheckpointError(FIELD, problem, _listed(words) or _ACCEPTED)
    return _vectors(*next(item for item in words.items() if token in (None, item[0])), width)


def _words(content: dict[str, Any]) -> dict[str, Array]:
    words = content.get("string_to_param", content)
    if not isinstance(words, dict):
        raise CheckpointError(FIELD, "its string_to_param is no dict", _ACCEPTED)
    if odd := sorted(name for name, value in words.items() if not isinstance(value, np.ndarray)):
        raise CheckpointError(FIELD, f"{odd[0][:80]!r} of it is not a tensor", _ACCEPTED)
    if {"clip_l", "clip_g"} & words.keys():
        raise CheckpointError(FIELD, "it was made for Stable Diffusion XL", "an embedding for Stable Diffusion 1.x")
    return words


def _vectors(token: str, tensor: Array, width: int) -> npt.NDArray[np.float32]:
    shown = repr(token[:80])
    if tensor.dtype.kind != "f":
        raise CheckpointError(FIELD, f"token {shown} has elements of type {tensor.dtype}", "floating point")
    vectors = tensor[None] if tensor.ndim == 1 else tensor
    if vectors.ndim != 2 or vectors.shape[1] != width or not 1 <= len(vectors) <= MAX_VECTORS:
        found = " x ".join(map(str, tensor.shape)) or "one number"
        raise CheckpointError(FIELD, f"token {shown} is {found}", f"1 to {MAX_VECTORS} vectors of this base's {width}")
    learned = vectors.astype(np.float32)
    if not np.isfinite(learned).all():
        raise CheckpointError(FIELD, f"token {shown} holds NaN or infinity", "finite numbers")
    return learned


def _listed(words: dict[str, Array]) -> str:
    return ", ".join(repr(word[:40]) for word in list(words)[:10])
