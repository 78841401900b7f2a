"""The forms in which a reference photo may be given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_vico_server import FakeServer
from PIL import Image
from vico_client import Client, InvalidRequest

EXIF_ORIENTATION = 0x0112
ROTATED_90 = 6


def _photo(mode: str = "RGB") -> Image.Image:
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    return Image.fromarray(pixels).convert(mode)


def _arrived(client: Client, server: FakeServer, photo: Any) -> bytes:
    client.generate("a photo of *", concept="my-toy", reference_image=photo)
    sent: bytes = server.calls[-1].fields["reference_image"]
    return sent


def test_bytes_and_files_arrive_untouched(client: Client, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    _photo().save(path)
    file = path.read_bytes()
    for form in (path, str(path), file, bytearray(file), memoryview(file)):
        assert _arrived(client, server, form) == file


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "YCbCr", "I;16", "F"])
def test_pictures_of_every_mode_arrive_as_lossless_files(client: Client, server: FakeServer, mode: str) -> None:
    photo = _photo("L").convert("I").convert("I;16") if mode == "I;16" else _photo(mode)
    arrived = Image.open(io.BytesIO(_arrived(client, server, photo)))
    assert arrived.format == "PNG"
    assert np.array_equal(np.asarray(arrived.convert("RGB")), np.asarray(photo.convert("RGB")))


def test_pictures_arrive_upright(client: Client, server: FakeServer) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED_90
    buffer = io.BytesIO()
    _photo().save(buffer, format="png", exif=exif)
    arrived = Image.open(io.BytesIO(_arrived(client, server, Image.open(buffer))))
    assert arrived.size == (4, 6)
    assert np.array_equal(np.asarray(arrived), np.rot90(np.asarray(_photo()), k=-1))


def test_a_photo_of_many_megabytes_passes(client: Client, server: FakeServer) -> None:
    file = bytes(16 * 2**20)
    assert _arrived(client, server, file) == file


def test_an_empty_photo_is_none(client: Client, server: FakeServer) -> None:
    assert _arrived(client, server, b"") == b""


def _half_a_photo() -> Image.Image:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, format="jpeg")
    return Image.open(io.BytesIO(buffer.getvalue()[:-400]))


@pytest.mark.parametrize(
    "photo", ["/no/such/photo.png", Path("/"), "nul\0.png", 7, _half_a_photo()], ids=lambda photo: type(photo).__name__
)
def test_what_cannot_be_read_is_refused_before_it_is_sent(client: Client, server: FakeServer, photo: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _arrived(client, server, photo)
    assert caught.value.field == "reference_image"
    assert not server.calls
