"""Headless Chromium, from an empty profile, that remembers what its page asked for and complained of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

DESKTOP, PHONE = (1280, 900), (390, 844)
PATIENCE = 300_000.0  # milliseconds: this is no test of speed
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def require_browser() -> str:
    """Path of Chromium; skips where something is missing."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'vico[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return chromium


@dataclass
class Browsed:
    """A page, and what happened on it. hosts: `host:port` of all that was asked for; errors: of its console."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def see(self, url: str) -> Page:
        """Open the studio and wait until it is there."""
        self.page.goto(url)
        self.page.locator("#photos").wait_for()
        return self.page

    def overflows(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width


@contextmanager
def browsing(folder: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Browsed]:
    """A browser with `folder`/profile as its profile."""
    chromium = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=chromium,
            args=_ARGUMENTS,
            viewport={"width": size[0], "height": size[1]},
            has_touch=size == PHONE,
            timeout=PATIENCE,
        )
        context.set_default_timeout(PATIENCE)
        browsed = Browsed(context.pages[0])
        browsed.page.on("request", lambda request: _note(browsed, request.url))
        browsed.page.on("console", lambda said: browsed.errors.append(said.text) if said.type == "error" else None)
        browsed.page.on("pageerror", lambda error: browsed.errors.append(str(error)))
        try:
            yield browsed
        finally:
            context.close()


def _note(browsed: Browsed, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("data", "blob"):
        browsed.hosts.add(parts.netloc)
