from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from studio.errors import StudioError
from studio.uploads import Limits, check_photos, copy_photos


def write(path: Path, size: tuple[int, int] = (20, 30), kind: str = "PNG") -> Path:
    Image.new("RGB", size, "red").save(path, kind)
    return path


def bomb(path: Path, side: int) -> Path:
    """A PNG whose header promises `side` x `side` pixels, and that holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def refusal(photos: list[Path], limits: Limits | None = None) -> StudioError:
    with pytest.raises(StudioError) as caught:
        check_photos(photos, limits or Limits())
    assert caught.value.field == "photos"
    assert caught.value.accepted
    assert "/" not in caught.value.problem
    return caught.value


def test_the_suffix_is_that_of_the_content(tmp_path: Path) -> None:
    photos = [write(tmp_path / "a.gif", kind="JPEG"), write(tmp_path / "b", kind="WEBP"), write(tmp_path / "c.png")]
    assert check_photos(photos, Limits()) == (".jpg", ".webp", ".png")


@pytest.mark.parametrize("count", [0, 8])
def test_one_to_seven(tmp_path: Path, count: int) -> None:
    refusal([write(tmp_path / "a.png")] * count)
    check_photos([write(tmp_path / "a.png")] * 7, Limits())


def test_too_many_bytes_are_refused_before_the_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture at all" * 10)
    assert "MB" in refusal([tmp_path / "a.png"], Limits(bytes_each=100)).problem


@pytest.mark.parametrize(("side", "said"), [(9_000, "megapixels"), (60_000, "pixels")])
def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path: Path, side: int, said: str) -> None:
    assert said in refusal([write(tmp_path / "a.png"), bomb(tmp_path / "b.png", side)]).problem


def test_the_photo_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret-name.png").write_bytes(b"GIF89a nonsense")
    problem = refusal([write(tmp_path / "a.png"), tmp_path / "secret-name.png"]).problem
    assert problem == "photo 2 cannot be read as a picture"
    assert refusal([write(tmp_path / "thin.png", (3, 900))]).problem == "photo 1 has 3 x 900 pixels"


def test_formats_beyond_three_are_refused(tmp_path: Path) -> None:
    refusal([write(tmp_path / "a.png", kind="TIFF")])


def test_copies_have_names_of_their_own(tmp_path: Path) -> None:
    photos = [write(tmp_path / "--out=x.png"), write(tmp_path / "b.jpg", kind="JPEG")]
    copy_photos(photos, check_photos(photos, Limits()), tmp_path / "job" / "photos")
    assert sorted(file.name for file in (tmp_path / "job" / "photos").iterdir()) == ["1.png", "2.jpg"]
