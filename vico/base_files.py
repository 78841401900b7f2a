"""The files of a base: which must be there, what identifies them, its noise schedule. Free of torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vico.errors import BaseError
from vico.sampling import NoiseSchedule

COMPONENTS = ("text_encoder", "unet", "vae", "tokenizer", "scheduler")
"""The folders of a base that decide what it computes."""

WEIGHTS = {
    "text_encoder": ("model",),
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
}
MODEL_INDEX: dict[str, object] = {
    "_class_name": "StableDiffusionPipeline",
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
}
"""`model_index.json` of a base that this project writes: tells diffusers the class of each folder."""
_DIGESTED = (".json", ".safetensors", ".txt")
ACCEPTED = "a diffusers folder of Stable Diffusion 1.x with safetensors weights"


def read_schedule(path: Path) -> NoiseSchedule:
    """The noise schedule of a base folder, from `scheduler/scheduler_config.json`.

    Raises:
        BaseError: the file is absent or malformed, or the base does not predict noise.
    """
    config = _read_json(path, "scheduler", "scheduler_config.json")
    prediction = config.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise BaseError("base", f"its scheduler's prediction_type is {prediction!r}", "'epsilon'")
    known = {name: config[name] for name in NoiseSchedule.__annotations__ if name in config}
    try:
        return TypeAdapter(NoiseSchedule).validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise BaseError("base", f"its scheduler's {first['loc'][0]!r} is wrong ({first['msg']})", ACCEPTED) from None


def base_digest(path: Path | str) -> str:
    """SHA-256, 64 hexadecimal digits, over names and contents of a base's weights and configs, in sorted order.

    Covers the `.safetensors`, `.json` and `.txt` files of `COMPONENTS`; where the folder lies does not matter.

    Raises:
        BaseError: the folder holds none of them.
    """
    total = hashlib.sha256()
    files = list(_digested(Path(path)))
    if not files:
        raise BaseError("base", f"{Path(path).name} is not a base folder", ACCEPTED)
    for name, file in files:
        with file.open("rb") as content:
            total.update(f"{name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _digested(path: Path) -> Iterator[tuple[str, Path]]:
    found = (file for component in COMPONENTS for file in (path / component).rglob("*"))
    named = ((file.relative_to(path).as_posix(), file) for file in found if file.suffix in _DIGESTED)
    yield from sorted((name, file) for name, file in named if file.is_file() and "/." not in name)


def weights_variant(path: Path, component: str) -> str | None:
    """The variant of a component's weights to load: none, or "fp16" where only that is there."""
    require_files(path, component, "config.json")
    folder = path / component
    for stem in WEIGHTS[component]:
        for variant in (None, "fp16"):
            file = f"{stem}.safetensors" if variant is None else f"{stem}.{variant}.safetensors"
            if (folder / file).is_file() or (folder / f"{file}.index.json").is_file():
                return variant
    if list(folder.glob("*.bin")):
        raise BaseError("base", f"{component}/ holds pickled weights only (.bin)", "safetensors weights")
    raise BaseError("base", f"{component}/ holds no weights", ACCEPTED)


def require_files(path: Path, component: str, *files: str) -> None:
    """Refuse a base without these files of a component. Raises `BaseError` naming the first that is missing."""
    if path.is_file():
        problem = f"{path.name} is a single file"
        raise BaseError("base", problem, f"{ACCEPTED}; `vico import-base {path.name} --out FOLDER` makes one")
    if not path.is_dir():
        raise BaseError("base", f"{path} is not a folder", ACCEPTED)
    for file in files:
        if not (path / component / file).is_file():
            raise BaseError("base", f"{component}/{file} is missing in {path}", ACCEPTED)


def require_tokenizer(path: Path) -> None:
    """Refuse a base without a tokenizer: `tokenizer.json`, or `vocab.json` with `merges.txt`. Raises `BaseError`."""
    if not (path / "tokenizer" / "tokenizer.json").is_file():
        require_files(path, "tokenizer", "vocab.json", "merges.txt")


def _read_json(path: Path, component: str, file: str) -> dict[str, Any]:
    require_files(path, component, file)
    try:
        content: dict[str, Any] = json.loads((path / component / file).read_text())
    except ValueError as error:
        raise BaseError("base", f"{component}/{file} is not JSON ({error})", ACCEPTED) from None
    return content
