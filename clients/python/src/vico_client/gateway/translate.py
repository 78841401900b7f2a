"""From this API's fields to the SDK's, one for one; defaults and limits are the server's."""

from __future__ import annotations

from vico_client.gateway.fields import BASE, PRESETS, ImageFields
from vico_client.messages import GenerateOptions


def options_of(asked: ImageFields, photo: bytes | None = None) -> GenerateOptions:
    """The keywords of `AsyncClient.send` and `stream`, but for the prompt. photo: an encoded file."""
    width, height = _size(asked.size)
    return GenerateOptions(
        concept=concept_of(asked.model),
        negative_prompt=asked.vico.negative_prompt,
        seed=asked.vico.seed,
        preset=PRESETS[asked.quality or "auto"],
        steps=asked.vico.steps,
        sampler=asked.vico.sampler,
        guidance_scale=asked.vico.guidance_scale,
        image_guidance=asked.vico.image_guidance,
        height=height,
        width=width,
        num_images=asked.n or 1,
        priority=asked.vico.priority,
        output_format=asked.output_format or "png",
        reference_image=photo,
    )


def concept_of(model: str | None) -> str | None:
    """None for the plain base."""
    return None if model in (None, "", BASE) else model


def user_of(asked: ImageFields) -> str | None:
    """Whose request it is, if it says so."""
    return asked.user or asked.safety_identifier or None


def _size(size: str | None) -> tuple[int, int] | tuple[None, None]:
    """(width, height) in pixels"""
    if size is None or size == "auto":
        return None, None
    width, _, height = size.partition("x")
    return int(width), int(height)
