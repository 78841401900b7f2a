"""The Triton model repository of a graph set, made from the one in the source tree."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from export.errors import RepositoryError

SOURCE = Path(__file__).parents[1] / "model_repository"
MODELS = "models"
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "__init__.py")


def assemble_repository(out: Path, source: Path = SOURCE) -> Path:
    """Put a copy of `source` at `out/models`, replacing an older one whole; returns its path.

    Every model gets its version folder `1/`, also those that have nothing in it (Triton wants one of an ensemble).

    Raises:
        RepositoryError: `source` is absent or holds no model.
    """
    models = sorted(config.parent.name for config in source.glob("*/config.pbtxt"))
    if not models:
        raise RepositoryError(
            "model_repository", "no models beside the package", "an installation with model_repository/"
        )
    temporary = Path(tempfile.mkdtemp(prefix=".models-", dir=out))
    try:
        fresh, old, target = temporary / "new", temporary / "old", out / MODELS
        for model in models:
            shutil.copytree(source / model, fresh / model, ignore=_IGNORED)
            (fresh / model / "1").mkdir(exist_ok=True)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
