from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.photos import make_photos
from training.errors import PhotoError
from training.evaluation.subject import SubjectError, load_look_alikes, load_subjects, plain_subject

ASSETS = Path(__file__).parents[4] / "assets" / "photos"


def test_the_sample_photos() -> None:
    subjects = load_subjects(ASSETS, 64)
    assert len(subjects) >= 12
    for subject in subjects:
        assert (len(subject.train), len(subject.held_out)) == (5, 3)
        assert all(picture.size == (64, 64) for picture in subject.train + subject.held_out)


def test_every_sample_has_look_alikes() -> None:
    look_alikes = load_look_alikes(ASSETS)
    for subject in load_subjects(ASSETS, 16):
        assert len(look_alikes[subject.init_word]) == 4
        assert all(picture.size == (64, 64) for picture in look_alikes[subject.init_word])


def test_no_look_alikes(tmp_path: Path) -> None:
    assert load_look_alikes(None) == {}
    assert load_look_alikes(tmp_path) == {}


def test_plain_folders(tmp_path: Path) -> None:
    photos, kept = make_photos(tmp_path / "a", 3), make_photos(tmp_path / "b", 2)
    subject = plain_subject("cup", "mug", photos, kept, 32)
    assert (subject.id, subject.init_word, len(subject.train), len(subject.held_out)) == ("cup", "mug", 3, 2)
    assert plain_subject("cup", "mug", photos, None, 32).held_out == ()


@pytest.mark.parametrize("content", ["", "[", "{}x", '[{"id": "cup"}]', "[3]"])
def test_a_broken_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "concepts.json").write_text(content)
    with pytest.raises(SubjectError, match=r"concepts\.json"):
        load_subjects(tmp_path, 32)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match="photos"):
        load_subjects(tmp_path, 32)


def test_an_index_that_names_an_absent_photo(tmp_path: Path) -> None:
    entry = {"id": "cup", "init_word": "mug", "train": ["0.png"], "heldout": []}
    (tmp_path / "concepts.json").write_text(json.dumps([entry]))
    with pytest.raises(PhotoError, match=r"0\.png"):
        load_subjects(tmp_path, 32)
    (tmp_path / "cup").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "cup" / "0.png")
    assert len(load_subjects(tmp_path, 32)[0].train) == 1
