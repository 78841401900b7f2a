"""What a request may say. A field that is not here is refused by name: nothing is silently left out."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import json
from contextlib import suppress
from typing import Annotated, Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

BASE = "vico:base"
"""The model that is no concept; no concept can have this name."""

Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
PRESETS: dict[str, Optional[str]] = {
    "auto": None,
    "low": "fast",
    "medium": "balanced",
    "high": "quality",
    "standard": "balanced",
    "hd": "quality",
}
"""`quality` → the server's preset; None = the server's choice."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class VicoFields(BaseModel):
    """What OpenAI's API has no field for; in Python: `extra_body={"vico": {"seed": 7}}`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seed: Optional[int] = Field(default=None, ge=0, lt=2**63, description="the same seed gives the same pictures")
    steps: Optional[int] = Field(default=None, ge=1, le=2**31 - 1, description="denoising steps")
    sampler: Optional[str] = Field(default=None, description="ddim, dpmpp_2m or unipc")
    guidance_scale: Optional[_Finite] = Field(default=None, description="strength of the prompt; 1 = none")
    image_guidance: Optional[_Finite] = Field(default=None, description="strength of the concept; 1 = as trained")
    negative_prompt: Optional[str] = Field(default=None, description="what the pictures should not show")
    priority: Optional[int] = Field(default=None, ge=1, le=9, description="a request of a greater one goes first")
    deadline: Optional[_Finite] = Field(default=None, gt=0, description="seconds; 504 when they do not suffice")


class ImageFields(BaseModel):
    """A request for pictures."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: str = Field(
        min_length=1, description="with the concept's placeholder ('*') once, if a concept is asked for"
    )
    model: Optional[str] = Field(
        default=None, description=f"concept: id, alias or id@digest; {BASE!r}, or nothing, is plain Stable Diffusion"
    )
    n: Optional[int] = Field(default=None, ge=1, le=2**31 - 1, description="number of pictures")
    size: Optional[str] = Field(
        default=None, pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$", description="WIDTHxHEIGHT in pixels, or auto"
    )
    quality: Optional[Quality] = Field(
        default=None, description="low: fast; medium, standard: balanced; high, hd: quality; auto: the server's choice"
    )
    response_format: Optional[Literal["b64_json", "url"]] = Field(
        default=None, description="url: a data URL, as nothing is kept here to be fetched; default: b64_json"
    )
    output_format: Optional[Literal["png", "jpeg", "webp"]] = Field(default=None, description="default: png")
    background: Optional[Literal["auto", "opaque"]] = Field(default=None, description="pictures are opaque")
    moderation: Optional[Literal["auto", "low"]] = Field(default=None, description="no effect: there is none here")
    user: Optional[str] = Field(default=None, max_length=512, description="whose request it is: users share equally")
    safety_identifier: Optional[str] = Field(default=None, max_length=512, description="as `user`")
    stream: Optional[bool] = Field(default=None, description="server-sent events, as the pictures are made")
    partial_images: Optional[int] = Field(default=None, ge=0, le=3, description="previews of each picture, at most")
    vico: VicoFields = Field(default=VicoFields(), description="extensions of this gateway")


def from_form(items: "list[tuple[str, str]]") -> ImageFields:
    """Of the text fields of a form: `vico` is JSON, or one field `vico[seed]` for each. ValidationError, ValueError."""
    values: dict[str, Any] = {}
    for name, text in items:
        outer, bracket, inner = name.partition("[")
        target, key = (values.setdefault(outer, {}), inner.rstrip("]")) if bracket else (values, name)
        if not isinstance(target, dict) or key in target:
            raise ValueError(f"{outer}: given twice; accepted: once")
        target[key] = text
    if isinstance(values.get("vico"), str):
        with suppress(ValueError):  # what is no JSON is refused as text
            values["vico"] = json.loads(values["vico"])
    return ImageFields.model_validate(values, strict=False)
