"""CLIP and DINO from local folders, through `transformers`: the customary encoders for Stable Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.encoder import BATCH, EncoderError, Features, unit

CLIP, DINO = "CLIP-I", "DINO-I"


class TransformersEncoder:
    """CLIP-I (image embedding) or DINO-I (class token of the last layer) of the model in a local folder."""

    def __init__(self, name: str, folder: Path) -> None:
        """Load `name` (CLIP-I or DINO-I) from a folder in the layout of the Hugging Face hub.

        Raises:
            EncoderError: the folder does not hold such a model.
        """
        self.name = name
        self._model, self._processor = _load(name, folder, "AutoImageProcessor")

    @torch.no_grad()
    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        """RGB pictures → [N, D], rows of length 1."""
        parts = []
        for i in range(0, len(pictures), BATCH):
            inputs = self._processor(images=list(pictures[i : i + BATCH]), return_tensors="pt")
            if self.name == CLIP:
                parts.append(_tensor(self._model.get_image_features(**inputs)))
            else:
                parts.append(self._model(**inputs).last_hidden_state[:, 0])
        return unit(torch.cat(parts).float().numpy())


class ClipTextJudge:
    """CLIP-T: cosine of a picture's and its prompt's embedding, the thing named by its init word."""

    name = "CLIP-T"

    def __init__(self, folder: Path, init_word: str) -> None:
        """Load CLIP. Raises `EncoderError` where the folder does not hold it."""
        self._images = TransformersEncoder(CLIP, folder)
        self._model, self._tokenizer = _load(CLIP, folder, "AutoTokenizer")
        self._init_word = init_word

    @torch.no_grad()
    def judge(self, drawn: Sequence[Drawn]) -> Features:
        """One cosine per picture, [N]."""
        prompts = [one.prompt.template.format(self._init_word) for one in drawn]
        tokens = self._tokenizer(prompts, padding=True, truncation=True, return_tensors="pt")
        texts = unit(_tensor(self._model.get_text_features(**tokens)).float().numpy())
        images = self._images.encode([one.picture for one in drawn])
        cosines: Features = (texts * images).sum(axis=1).astype(np.float32)
        return cosines


def _load(name: str, folder: Path, companion: str) -> tuple[Any, Any]:
    import transformers

    kind = transformers.CLIPModel if name == CLIP else transformers.AutoModel
    try:
        model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        return model, getattr(transformers, companion).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(
            "encoders", f"{name} cannot be loaded from {folder} ({reason})", "a folder of the Hugging Face hub's layout"
        ) from None


def _tensor(output: Any) -> torch.Tensor:
    """`transformers` 5 wraps the embedding, 4 returns it."""
    embedding: torch.Tensor = getattr(output, "pooler_output", output)
    return embedding
