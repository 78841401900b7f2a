"""Cheap stand-ins for what takes the comparison hours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.quality.pair import Pair, Setting, key_of
from benchmarks.quality.records import Record
from benchmarks.quality.store import Facts, Store
from training.evaluation.draw import Drawn, draw_suite
from training.evaluation.scorer import Scores
from training.evaluation.subject import Subject

SUITE = """\
name = "small"
seeds = [0, 3]
[settings]
sampler = "ddim"
steps = 2
guidance_scale = 3.0
[[prompts]]
family = "recontextualise"
template = "a photo of a {} on the beach"
expect = "beach"
[[prompts]]
family = "restyle"
template = "a rendering of a {} in snow"
expect = "snow"
"""


def make_photo_folder(folder: Path, concepts: Sequence[str]) -> Path:
    """A folder as `assets/photos`: two training photos and a held-out one of every concept."""
    for i, concept in enumerate(concepts):
        for j, name in enumerate(("train/0.png", "train/1.png", "heldout/0.png")):
            (folder / concept / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (40 * i % 256, 90 * j, 120)).save(folder / concept / name)
    entries = [
        {"id": c, "init_word": "toy", "train": ["train/0.png", "train/1.png"], "heldout": ["heldout/0.png"]}
        for c in concepts
    ]
    (folder / "concepts.json").write_text(json.dumps(entries))
    return folder


def fake_run(pair: Pair, folder: Path) -> Facts:
    """A pair done in no time: pictures whose colour is the seed; leaves a line in `calls`, dies where `poison` says."""
    with (folder.parent / "calls").open("a") as calls:
        calls.write(f"{pair.label} {pair.concept}\n")
    poison = folder.parent / "poison"
    if poison.is_file() and pair.concept in poison.read_text():
        raise OSError("the disk is full")
    drawn = draw_suite(lambda _, seeds: [Image.new("RGB", (8, 8), (seed, 0, 0)) for seed in seeds], pair.suite)
    facts = Facts(key_of(pair), "", pair.label, pair.method, pair.concept, 1.5, 2, 3, 0.5)
    Store(folder).save(pair, drawn, facts)
    return facts


class FakeScorer:
    """Figures that are a function of the concept's place in the alphabet."""

    def score(self, subject: Subject, drawn: Sequence[Drawn], floor_drawn: Sequence[Drawn]) -> Scores:
        """The same for every method."""
        assert len(drawn) == len(floor_drawn)
        place = (ord(subject.id[0]) - ord("a")) / 100
        by_encoder = {"one": 0.5 + place, "two": 0.7 + place}
        return Scores(
            identity=by_encoder,
            identity_crop=by_encoder,
            floor={"one": 0.1, "two": 0.1},
            floor_crop={"one": 0.4, "two": 0.6},
            ceiling={"one": 0.9, "two": 0.9},
            ceiling_crop={"one": 0.8, "two": 0.8},
            retrieval_map={"one": 0.25, "two": 0.75},
            retrieval_top1={"one": 0.0, "two": 1.0},
            text=0.6,
            text_by_family={"recontextualise": 0.6},
            diversity=0.3,
            copying=0.2,
        )


def make_record(method: str, concept: str, identity: float, text: float = 0.5) -> Record:
    """A record with one encoder, floor 0.2 and ceiling 0.8."""
    return Record(
        method=method,
        concept=concept,
        identity_crop=identity,
        identity_floor=0.2,
        identity_ceiling=0.8,
        retrieval_map=0.5,
        retrieval_top1=0.5,
        text=text,
        diversity=0.1,
        copying=0.1,
        seconds=10.0,
        steps=5,
        parameters=7,
        identity=identity,
        identity_crop_by_encoder={"one": identity},
        identity_floor_by_encoder={"one": 0.2},
        identity_ceiling_by_encoder={"one": 0.8},
        identity_by_encoder={"one": identity},
        retrieval_map_by_encoder={"one": 0.5},
        text_by_family={},
    )


def make_setting(folder: Path, base: Path, concepts: Sequence[str] = ("ark", "bell", "cup")) -> Setting:
    """A comparison over made-up photos with a suite of two prompts and two seeds."""
    (folder / "suite.toml").write_text(SUITE)
    return Setting(base, make_photo_folder(folder / "photos", concepts), str(folder / "suite.toml"), seconds=1e9)
