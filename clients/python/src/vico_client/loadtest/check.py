"""Correctness under load: a picture made among others must be the one that the same request gets when it is alone."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vico_client.client import Client
from vico_client.errors import VicoClientError
from vico_client.loadtest.call import picture_name
from vico_client.loadtest.records import Record
from vico_client.messages import GenerateRequest, GenerateResult

MIN_PSNR = 40.0  # decibels; what docs/architecture.md demands of a picture whatever shares its batch


@dataclass(frozen=True)
class Comparison:
    """One request under load and alone, the worst of its pictures.

    identical: every file bit for bit. difference: largest of any pixel, 0 … 255. psnr: decibels, None if identical.
    problem: why there is nothing to compare, "" otherwise.
    """

    number: int
    request_id: str
    identical: bool = False
    difference: int | None = None
    psnr: float | None = None
    problem: str = ""

    @property
    def equal(self) -> bool:
        """As equal as the contract demands."""
        return self.identical or (self.psnr is not None and self.psnr >= MIN_PSNR)


def sample(records: Iterable[Record], limit: int) -> list[Record]:
    """At most `limit` of the answered requests whose pictures were kept, spread evenly over the test."""
    kept = [record for record in records if record.checked and record.ok]
    count = min(limit, len(kept))
    return [kept[index * len(kept) // count] for index in range(count)]


def compare_alone(client: Client, record: Record, pictures: Path) -> Comparison:
    """Ask again, alone, for exactly what the record got (its concept pinned by digest), and compare."""
    number, request_id = record.number, record.request_id
    fields = dict(record.request)
    if record.info.get("concept"):
        fields["concept"] = record.info["concept"]
    try:
        files = [(pictures / picture_name(number, index)).read_bytes() for index in range(record.images)]
        alone = client.send(GenerateRequest(**fields, request_id=f"{request_id}-alone"))
        return _compared(number, request_id, files, alone, raw=fields.get("output_format") == "raw")
    except (VicoClientError, OSError, ValueError) as error:
        return Comparison(number, request_id, problem=f"{type(error).__name__}: {error}")


def _compared(number: int, request_id: str, files: list[bytes], alone: GenerateResult, *, raw: bool) -> Comparison:
    if all(file == bytes(other) for file, other in zip(files, alone.files)):
        return Comparison(number, request_id, identical=True, difference=0)
    worst, psnr = 0, math.inf
    for file, image in zip(files, alone.images):
        size = (image.height, image.width, 3)
        pixels = np.frombuffer(file, np.uint8) if raw else np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        difference = np.abs(pixels.reshape(size).astype(int) - np.asarray(image.convert("RGB")))
        worst = max(worst, int(difference.max()))
        error = float((difference.astype(float) ** 2).mean())
        psnr = min(psnr, 10 * math.log10(255**2 / error) if error else math.inf)
    return Comparison(number, request_id, difference=worst, psnr=min(psnr, 999.0))
