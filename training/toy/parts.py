"""The classes of diffusers that the toy base is built of, under types that can be checked.

diffusers builds its classes with decorators and lazy imports that hide their methods from a type checker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import torch

    class _Part(torch.nn.Module):
        def __init__(self, *args: Any, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> Self: ...

        @classmethod
        def from_config(cls, *args: Any, **options: Any) -> Self: ...

    class AutoencoderKL(_Part):
        """diffusers' class of this name."""

    class UNet2DConditionModel(_Part):
        """diffusers' class of this name."""

    class DDIMScheduler(_Part):
        """diffusers' class of this name."""

    class PNDMScheduler(_Part):
        """diffusers' class of this name."""
else:
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel

__all__ = ["AutoencoderKL", "DDIMScheduler", "PNDMScheduler", "UNet2DConditionModel"]
