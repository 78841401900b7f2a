"""Where each of two things is in a picture: the plain base says it, of every method's pictures alike.

As `training.evaluation.crop`, with both words in the prompt: a token belongs to the word with the greater share of its
text attention. No method's own weights or words take part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from training.evaluation.crop import TIMESTEPS, object_box
from training.evaluation.maker import fill
from vico.base import Base
from vico.pipeline import encode_pictures
from vico.several.placing import Placing, shares, text_maps
from vico.text import encode_prompts, tokenize_prompts


@torch.no_grad()
def crop_both(
    base: Base, pictures: Sequence[Image.Image], words: tuple[str, str]
) -> tuple[list[Image.Image], list[Image.Image]]:
    """Of every RGB picture of the base's own size, the square around the first word's thing, and the second's."""
    head = fill("a photo of a {}", words[0])
    prompt = head + fill(" next to a {}", words[1])
    context = encode_prompts(base.text_encoder, tokenize_prompts(base, [prompt]).input_ids)
    # the last token of each word: after it, the text encoder's causal attention has read all of it
    positions = [len(base.encode_text(text)) for text in (head, prompt)]
    latent = encode_pictures(base, pictures)
    times = [int(part * base.schedule.num_train_timesteps) for part in TIMESTEPS]
    maps = torch.stack([text_maps(base, latent, time, context, positions) for time in times]).mean(dim=0)
    owned = (maps * shares(maps, Placing(background=None))).float().cpu().numpy()
    first, second = (
        [picture.crop(object_box(own[i], picture.size)) for own, picture in zip(owned, pictures, strict=True)]
        for i in range(2)
    )
    return first, second
