"""What the gateway answers, in OpenAI's shapes; `vico` in an answer is what this API adds."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import base64
import time
from typing import Literal, Optional

from pydantic import BaseModel, Field

from vico_client.gateway.fields import BASE, ImageFields
from vico_client.messages import GenerateInfo, GenerateResult


class Warned(BaseModel):
    """A remark of the server on work that it did."""

    code: str
    message: str


class Told(BaseModel):
    """What the server really did: enough to ask for the same pictures again."""

    request_id: str
    seed: int
    preset: str
    steps: int
    sampler: str
    concept: str = Field(description="id@digest, or nothing")
    warnings: list[Warned]
    timings: dict[str, float] = Field(description="seconds, by stage of the server")


class PictureData(BaseModel):
    """One picture: as base64, or as a data URL."""

    b64_json: Optional[str] = None
    url: Optional[str] = None


class ImagesAnswer(BaseModel):
    """As OpenAI's ImagesResponse, and `vico`."""

    created: int = Field(description="seconds since 1970")
    background: Literal["opaque"] = "opaque"
    output_format: str
    quality: str
    size: str
    data: list[PictureData]
    vico: Told


class ModelCard(BaseModel):
    """A concept, or the plain base. created: 0, as servers do not tell."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "vico"


class ModelList(BaseModel):
    """has_more: there are further concepts than the server lists at once; they work all the same."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
    has_more: bool = False


class ErrorBody(BaseModel):
    """What went wrong. param: the field that is wrong, if one is; code: stable, for programs."""

    message: str
    type: str
    param: Optional[str]
    code: str


class ErrorAnswer(BaseModel):
    """An answer that is an error."""

    error: ErrorBody


def images_answer(asked: ImageFields, result: GenerateResult) -> bytes:
    """The whole answer as JSON; base64 of megabytes takes its time, so not on the event loop."""
    output_format = asked.output_format or "png"
    answer = ImagesAnswer(
        created=int(time.time()),
        output_format=output_format,
        quality=asked.quality or "auto",
        size=f"{result.info.width}x{result.info.height}",
        data=[_picture(file, output_format, as_url=asked.response_format == "url") for file in result.files],
        vico=told(result.request_id, result.info),
    )
    return answer.model_dump_json(exclude_none=True).encode()


def told(request_id: str, info: GenerateInfo) -> Told:
    """The server's own words on a request."""
    return Told(
        request_id=request_id,
        seed=info.seed,
        preset=info.preset,
        steps=info.steps,
        sampler=info.sampler,
        concept=info.concept,
        warnings=[Warned(code=warning.code, message=warning.message) for warning in info.warnings],
        timings=dict(info.timings),
    )


def base64_text(file: "bytes | memoryview") -> str:
    """ASCII."""
    return base64.b64encode(file).decode("ascii")


def model_cards(names: "list[str]") -> list[ModelCard]:
    """The plain base first."""
    return [ModelCard(id=name) for name in [BASE, *names]]


def _picture(file: memoryview, output_format: str, *, as_url: bool) -> PictureData:
    text = base64_text(file)
    return PictureData(url=f"data:image/{output_format};base64,{text}") if as_url else PictureData(b64_json=text)
