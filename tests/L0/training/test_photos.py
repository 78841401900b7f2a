from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from training.errors import PhotoError
from training.photos import load_photo, load_photos, to_rgb

SIZE = 32


def _halves(mode: str = "RGB") -> Image.Image:
    """64 x 64, red above, blue below."""
    picture = Image.new("RGB", (64, 64), (220, 20, 20))
    ImageDraw.Draw(picture).rectangle((0, 32, 64, 64), fill=(20, 20, 220))
    return picture.convert(mode)


def _pixel(photo: Image.Image, x: int, y: int) -> tuple[int, ...]:
    pixel = photo.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def test_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    _halves().save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = load_photo(tmp_path / "a.jpg", SIZE).picture
    assert _pixel(picture, 16, 4)[2] > 150
    assert _pixel(picture, 16, 28)[0] > 150


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparent_is_white(tmp_path: Path, suffix: str) -> None:
    picture = _halves("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((64, 64)).point(lambda v: 255 if v > 128 else 0))
    picture.save(tmp_path / f"a.{suffix}", lossless=True)
    loaded = load_photo(tmp_path / f"a.{suffix}", SIZE).picture
    assert _pixel(loaded, 16, 4) == (255, 255, 255)
    assert _pixel(loaded, 16, 28)[2] > 180


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    _halves().quantize(4).save(tmp_path / "a.png")
    assert _pixel(load_photo(tmp_path / "a.png", SIZE).picture, 16, 4)[0] > 180
    picture = _halves().quantize(4)
    picture.save(tmp_path / "b.png", transparency=picture.getpixel((0, 0)))
    assert _pixel(load_photo(tmp_path / "b.png", SIZE).picture, 16, 4) == (255, 255, 255)


def test_print_colours(tmp_path: Path) -> None:
    _halves("CMYK").save(tmp_path / "a.jpg", quality=95)
    picture = load_photo(tmp_path / "a.jpg", SIZE).picture
    red, _, blue = _pixel(picture, 16, 4)
    assert red > blue + 100


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (32768, 128), (65535, 255)])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, value: int, grey: int) -> None:
    levels = np.full((64, 64), value, dtype=np.uint16)
    levels[0, 0] = 65535
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert _pixel(load_photo(tmp_path / "a.png", SIZE).picture, 20, 20) == (grey,) * 3


def test_float_grey_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")
    assert _pixel(load_photo(tmp_path / "a.tif", SIZE).picture, 16, 16) == (128,) * 3


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    _halves().save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    assert _pixel(load_photo(tmp_path / "a.gif", SIZE).picture, 16, 4)[0] > 180


def test_long_photos_are_cut_or_squeezed(tmp_path: Path) -> None:
    picture = Image.new("RGB", (192, 64), "green")
    picture.paste(_halves(), (64, 0))
    picture.save(tmp_path / "a.png")
    cut = load_photo(tmp_path / "a.png", SIZE).picture
    squeezed = load_photo(tmp_path / "a.png", SIZE, centre_crop=False).picture
    assert _pixel(cut, 1, 4)[0] > 180
    assert _pixel(squeezed, 1, 4)[0] == 0


def test_small_photos_are_enlarged_and_said_so(tmp_path: Path) -> None:
    _halves().resize((20, 20)).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png", SIZE)
    assert photo.enlarged
    assert photo.picture.size == (SIZE, SIZE)


@given(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]))
@settings(max_examples=30, deadline=None)
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert to_rgb(Image.new(mode, (20, 30))).mode == "RGB"


def test_pictures_are_in_the_order_of_names_and_others_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.png", ".hidden.png"):
        _halves().save(tmp_path / name, "PNG")
    (tmp_path / "LICENCE.txt").write_text("CC0")
    assert [p.file.name for p in load_photos(tmp_path, SIZE)] == ["a.png", "b.PNG"]


def test_no_photos(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="is not a folder"):
        load_photos(tmp_path / "absent", SIZE)
    with pytest.raises(PhotoError, match="holds no photo; accepted: 1 to 7 photos"):
        load_photos(tmp_path, SIZE)


def test_too_many_photos(tmp_path: Path) -> None:
    for i in range(101):
        (tmp_path / f"{i}.png").touch()
    with pytest.raises(PhotoError, match="holds 101 photos"):
        load_photos(tmp_path, SIZE)


def test_text_called_jpg_is_named(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("not a picture")
    with pytest.raises(PhotoError, match=r"holiday\.jpg is not an image"):
        load_photos(tmp_path, SIZE)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif"])
def test_torn_files_are_named(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    noise.save(tmp_path / f"torn.{suffix}")
    content = (tmp_path / f"torn.{suffix}").read_bytes()
    (tmp_path / f"torn.{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(PhotoError, match=rf"torn\.{suffix}"):
        load_photos(tmp_path, SIZE)


def test_tiny_photos_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (15, 400)).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match=r"a\.png has 15 x 400 pixels; accepted: at least 16"):
        load_photos(tmp_path, SIZE)


@pytest.mark.parametrize("side", [11_000, 20_000])
def test_huge_photos_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match=r"a\.png (has 121 megapixels|is too large)"):
        load_photos(tmp_path, SIZE)


@given(content=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_end_in_a_picture_or_a_refusal(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("photo") / "a.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(PhotoError, match=r"a\.png"):
        load_photo(file, SIZE)
