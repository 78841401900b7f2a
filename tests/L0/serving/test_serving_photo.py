from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidField
from serving.photo import decode_photo, open_photo, photo_to_array


def encoded(photo: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


RED = Image.new("RGB", (6, 4), (200, 30, 30))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_formats(kind: str) -> None:
    pixels = np.asarray(decode_photo(encoded(RED, kind)))
    assert pixels.shape == (4, 6, 3)
    assert np.abs(pixels.astype(int) - [200, 30, 30]).max() < 12


def test_exif_turns_the_photo_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_photo(encoded(RED, "JPEG", exif=exif)).size == (4, 6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        photo = Image.fromarray(np.full((4, 6), 200 * 257, np.uint16))
    else:
        photo = Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode)
    decoded = decode_photo(encoded(photo, "JPEG" if mode == "CMYK" else "PNG"))
    assert decoded.mode == "RGB"
    assert mode == "1" or abs(int(np.asarray(decoded).mean()) - 200) < 5


def test_transparency_lies_over_white() -> None:
    assert np.asarray(decode_photo(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))).min() == 255


def test_too_many_pixels_are_refused_by_the_header() -> None:
    header = encoded(Image.new("1", (5000, 4000)))
    with pytest.raises(InvalidField, match="5000 x 4000"):
        open_photo(header)
    with pytest.raises(InvalidField):
        open_photo(header[:8] + _png_header(60000, 60000) + header[33:])


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(InvalidField, match="reference_image"):
        decode_photo(encoded(RED, kind))


@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP"]), data=st.data())
def test_damaged_files_are_refused_or_decoded_but_never_break(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(RED, kind))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        photo = decode_photo(bytes(content[:cut]))
    except InvalidField:
        return
    assert photo.mode == "RGB"


def test_the_centre_square_at_the_size_of_the_base() -> None:
    array = photo_to_array(Image.new("RGB", (40, 20), (255, 0, 127)), 8)
    assert array.shape == (1, 3, 8, 8)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0, :, 0, 0], [1, -1, -1 / 255], atol=1e-6)
