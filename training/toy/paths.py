"""Where things lie: the work folder's layout and the folders of downloaded data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = REPOSITORY / "assets"
BASE = ASSETS / "toy-base"
PHOTOS = ASSETS / "photos"
TUNING_PHOTOS = ASSETS / "tuning-photos"
LOOK_ALIKES = PHOTOS / "look-alikes"
PROBE = "judge-probe.safetensors"  # in the base's folder, beside the judge
DEFAULT_WORK = REPOSITORY / ".toy-cache"  # git-ignored


@dataclass(frozen=True)
class Work:
    """Caches and checkpoints below one folder; nothing in it is needed to use the base."""

    root: Path

    @property
    def emoji(self) -> Path:
        """Pictures of the emoji."""
        return self.root / "sources" / "emoji"

    @property
    def furniture(self) -> Path:
        """The furniture catalogues."""
        return self.root / "sources" / "furniture"

    @property
    def blender_python(self) -> Path:
        """Interpreter of Blender's environment."""
        return self.root / "sources" / "blender" / "bin" / "python"

    @property
    def cutouts(self) -> Path:
        """Rendered views."""
        return self.root / "cutouts"

    @property
    def pictures(self) -> Path:
        """Training pictures."""
        return self.root / "pictures"

    @property
    def tokenizer(self) -> Path:
        """Tokenizer files."""
        return self.root / "tokenizer"

    @property
    def vae(self) -> Path:
        """The VAE's checkpoint, and ``final``."""
        return self.root / "vae"

    @property
    def latents(self) -> Path:
        """Coded training pictures."""
        return self.root / "latents"

    @property
    def unet(self) -> Path:
        """The denoiser's checkpoint."""
        return self.root / "unet"

    @property
    def judge(self) -> Path:
        """The judge's checkpoint."""
        return self.root / "judge"
