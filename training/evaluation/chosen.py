"""Which suite, encoders and text judge an evaluation uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.evaluation.encoder import Encoder, EncoderError
from training.evaluation.scorer import TextJudge
from training.evaluation.suite import Suite, load_suite
from training.evaluation.text import JUDGE, load_toy_judge
from vico.base import Base

DEFAULT = ("efficientnet-lite2", "dinov2-saliency")
_ACCEPTED = "efficientnet-lite2, dinov2-saliency, clip=FOLDER, dino=FOLDER, separated by commas"


@dataclass(frozen=True)
class Choice:
    """Encoders by their short names; those that need a folder with it."""

    plain: tuple[str, ...]
    folders: Mapping[str, Path]


def parse_choice(text: str | None) -> Choice:
    """`efficientnet-lite2,clip=FOLDER` → a choice; None is the default.

    Raises:
        EncoderError: a name is unknown, or given twice, or its folder is missing.
    """
    names = list(DEFAULT) if text is None else [part.strip() for part in text.split(",") if part.strip()]
    plain, folders = [], {}
    for name in names:
        key, has_folder, folder = name.partition("=")
        if (key in DEFAULT) == bool(has_folder) or key not in (*DEFAULT, "clip", "dino") or (has_folder and not folder):
            raise EncoderError("encoders", f"{name!r} is not an encoder", _ACCEPTED)
        if has_folder:
            folders[key] = Path(folder)
        else:
            plain.append(key)
    if not names or len({name.partition("=")[0] for name in names}) < len(names):
        raise EncoderError("encoders", "none is named, or one twice", _ACCEPTED)
    return Choice(tuple(plain), folders)


def load_encoders(choice: Choice) -> list[Encoder]:
    """The encoders of a choice, loaded. Raises `EncoderError` where a library or a folder is absent."""
    encoders: list[Encoder] = []
    for name in choice.plain:
        if name == "efficientnet-lite2":
            from training.evaluation.efficientnet import EfficientNetLite2

            encoders.append(EfficientNetLite2())
        else:
            from training.evaluation.dinov2 import SaliencyDinoV2

            encoders.append(SaliencyDinoV2())
    for key, folder in choice.folders.items():
        from training.evaluation.clip import CLIP, DINO, TransformersEncoder

        encoders.append(TransformersEncoder(CLIP if key == "clip" else DINO, folder))
    return encoders


def default_encoders() -> Sequence[Encoder]:
    """The two encoders of the toy base. Raises `EncoderError` where a library is absent."""
    return load_encoders(parse_choice(None))


def default_suite(base: Path) -> Suite:
    """toy for a base folder with the toy world's judge in it, else sd."""
    return load_suite("toy" if (base / JUDGE).is_file() else "sd")


def load_text_judge(base: Base, choice: Choice, init_word: str) -> TextJudge:
    """CLIP-T where CLIP is at hand, else the toy judge in the base's folder.

    Raises:
        SuiteError: there is neither.
    """
    if "clip" in choice.folders:
        from training.evaluation.clip import ClipTextJudge

        return ClipTextJudge(choice.folders["clip"], init_word)
    return load_toy_judge(base.path)
