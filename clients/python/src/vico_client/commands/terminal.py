"""Pictures in the terminal, by kitty's protocol or sixel (iTerm2, WezTerm, foot, xterm, …), by `textual-image`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from PIL import Image
from rich.console import Console

_MOST_ROWS = 24


def show(images: Iterable[Image.Image], *, wanted: bool | None) -> None:
    """Print pictures to a terminal. wanted: None = only with real graphics, True = as coloured blocks without them.

    Nothing happens in a pipe or a file, and without the library `textual-image`.
    """
    if wanted is False or not _is_terminal():
        return
    try:
        from textual_image import renderable  # asks the terminal what it can
    except ImportError:
        return
    if wanted is None and renderable.Image not in (renderable.SixelImage, renderable.TGPImage):
        return
    console = Console()
    for image in images:
        console.print(renderable.Image(image, height=min(_MOST_ROWS, max(1, console.height - 2))))


def _is_terminal() -> bool:
    """One that knows its size: pictures are scaled to it."""
    return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
