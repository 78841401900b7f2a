"""The work folder: per pair a sheet of its pictures and the facts of its training, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.quality.errors import QualityError
from benchmarks.quality.pair import Pair, key_of
from training.evaluation.draw import Drawn
from training.evaluation.suite import Suite
from vico.concept.atomic import write_atomically


@dataclass(frozen=True)
class Facts:
    """What is known of a finished pair besides its pictures."""

    key: str  # of `key_of`
    pictures: str  # SHA-256 of the sheet
    label: str
    method: str
    concept: str
    seconds: float  # of training
    steps: int
    parameters: int  # numbers that were trained
    drawing_seconds: float  # of the whole suite


@dataclass(frozen=True)
class Store:
    """Finished pairs in a folder: `<label>/<concept>.png` (a row per prompt, a column per seed) and `.json`."""

    folder: Path

    def finished(self, pair: Pair) -> bool:
        """The pair is there, whole, and of today's key."""
        return self._facts(pair) is not None

    def save(self, pair: Pair, drawn: Sequence[Drawn], facts: Facts) -> None:
        """Write pictures, then facts: a pair without facts is not finished."""
        content = _encode(drawn, pair.suite)
        write_atomically(self._file(pair, "png"), content)
        sealed = asdict(facts) | {"pictures": hashlib.sha256(content).hexdigest()}
        write_atomically(self._file(pair, "json"), (json.dumps(sealed, indent=1) + "\n").encode())

    def load(self, pair: Pair) -> tuple[tuple[Drawn, ...], Facts]:
        """Pictures in the suite's order, and facts.

        Raises:
            QualityError: the pair is absent, torn, or was made from something else than it would be made from today.
        """
        facts = self._facts(pair)
        if facts is None:
            state = "stale or torn" if self._file(pair, "json").is_file() else "not there"
            raise QualityError(
                "work",
                f"{pair.label} on {pair.concept} is {state}",
                "finished pairs: `python -m benchmarks.quality run`",
            )
        return _cut(Image.open(self._file(pair, "png")).convert("RGB"), pair.suite), facts

    def _facts(self, pair: Pair) -> Facts | None:
        try:
            facts = Facts(**json.loads(self._file(pair, "json").read_text()))
            pictures = hashlib.sha256(self._file(pair, "png").read_bytes()).hexdigest()
        except (OSError, ValueError, TypeError):
            return None
        return facts if (facts.key, facts.pictures) == (key_of(pair), pictures) else None

    def _file(self, pair: Pair, suffix: str) -> Path:
        return self.folder / pair.label / f"{pair.concept}.{suffix}"


def _encode(drawn: Sequence[Drawn], suite: Suite) -> bytes:
    columns, (width, height) = len(suite.seeds), drawn[0].picture.size
    sheet = Image.new("RGB", (columns * width, len(suite.prompts) * height))
    for i, one in enumerate(drawn):
        sheet.paste(one.picture, (i % columns * width, i // columns * height))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _cut(sheet: Image.Image, suite: Suite) -> tuple[Drawn, ...]:
    width, height = sheet.width // len(suite.seeds), sheet.height // len(suite.prompts)
    return tuple(
        Drawn(prompt, seed, sheet.crop((x * width, y * height, (x + 1) * width, (y + 1) * height)))
        for y, prompt in enumerate(suite.prompts)
        for x, seed in enumerate(suite.seeds)
    )
