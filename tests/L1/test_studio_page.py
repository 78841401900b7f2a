"""The studio's page in Chromium on a phone's screen; trainer and picture server are made up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from browsing import PHONE, Browsed, browsing, require_browser

pytest.importorskip("gradio", reason="the studio is not installed: pip install 'vico[studio]'")
pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

import uvicorn

import studio.workshop
from studio.jobs import Jobs, Phase
from studio.order import Order
from studio.registry import Registry
from studio.session import Studio
from studio.web import build_app
from studio.workshop import Workshop
from tests.helpers.concepts import make_concept
from tests.helpers.photos import make_photos
from tests.helpers.studio_fakes import PHOTOS, SLEEPS, STEP, WRITTEN, FakeClient, telling

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 300.0
WORD, NAME = "toy", "my-disc"


@dataclass
class Stage:
    """A studio whose trainer and picture server do what a test says."""

    url: str
    studio: Studio
    client: FakeClient
    then: str = ""

    def command(self, order: Order, _base: Path, work: Path, *, look: bool) -> list[str]:
        if look:
            return telling(PHOTOS)
        make_concept(work, order.name)
        self.client.names[order.name] = ""
        return telling(PHOTOS, STEP, *([] if self.then else [WRITTEN]), then=self.then)


@contextmanager
def staged(folder: Path, password: str = "") -> Iterator[Stage]:
    (folder / "registry").mkdir()
    registry, client = Registry(folder / "registry"), FakeClient()
    workshop = Workshop(folder, registry, Jobs(), folder)
    stage = Stage("", Studio(workshop, client, registry, "localhost:8001", "http://localhost:8080"), client)
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listening:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        patch.setattr(studio.workshop, "train_command", stage.command)
        stage.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(build_app(stage.studio, password), log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield stage
        finally:
            client.gate.set()
            workshop.jobs.cancel()
            server.should_exit = True
            thread.join(SECONDS)


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsed]:
    with browsing(tmp_path_factory.mktemp("browser"), PHONE) as made:
        yield made


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    require_browser()
    with staged(tmp_path) as made:
        yield made


def fill(page: Page, photos: Path) -> None:
    page.locator("#photos input[type=file]").set_input_files(sorted(photos.iterdir()))
    page.locator("#photos .file-preview").wait_for()
    page.locator("#name textarea, #name input").fill(NAME)
    page.locator("#word textarea, #word input").fill(WORD)


def on_pictures(page: Page) -> None:
    page.get_by_role("tab", name="Make pictures").click()
    page.locator("#draw").wait_for()


def phase(page: Page, wanted: Phase) -> None:
    page.locator(f"#job [data-phase={wanted}]").wait_for()


def test_photos_concept_picture_history_and_code(browsed: Browsed, stage: Stage, tmp_path: Path) -> None:
    page = browsed.see(stage.url)
    assert browsed.overflows() <= 0
    fill(page, make_photos(tmp_path / "photos"))
    page.locator("#look").click()
    page.locator("#seen .pair").first.wait_for()
    page.locator("#train").click()
    phase(page, Phase.DONE)
    assert browsed.overflows() <= 0
    assert stage.studio.registry.known(NAME).found
    on_pictures(page)
    page.locator("#concepts").get_by_text(NAME).wait_for()
    page.locator("#prompt textarea").fill("a * in the snow")
    page.locator("#make-more button").first.click()
    page.locator("#seed textarea, #seed input").wait_for()
    page.locator("#draw").click()
    page.locator(".result[data-state=done]").nth(1).wait_for()
    assert page.locator(".result .title").all_inner_texts() == [NAME, "plain base"]
    assert [(prompt, options.get("concept")) for prompt, options in stage.client.asked] == [
        ("a * in the snow", NAME),
        (f"a {stage.studio.registry.known(NAME).word} in the snow", None),
    ]
    [seed] = {options["seed"] for _, options in stage.client.asked}
    assert seed > 0  # 0 is what an empty field must not mean
    assert not any("steps" in options for _, options in stage.client.asked)
    page.locator(".entry").nth(1).wait_for()
    assert browsed.overflows() <= 0

    page.reload()
    on_pictures(page)
    page.locator(".entry").first.click()
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a * in the snow'")
    page.locator("#code button").first.click()
    page.locator("#python").get_by_text(f"seed={seed}").wait_for()
    assert browsed.overflows() <= 0
    assert browsed.errors == []
    assert browsed.hosts == {stage.url.removeprefix("http://")}


def test_a_training_outlives_the_page_and_can_be_cancelled(browsed: Browsed, stage: Stage, tmp_path: Path) -> None:
    stage.then = SLEEPS
    page = browsed.see(stage.url)
    fill(page, make_photos(tmp_path / "photos"))
    page.locator("#train").click()
    phase(page, Phase.TRAINING)
    page.reload()
    phase(page, Phase.TRAINING)
    page.get_by_text("Step 1 of 2").wait_for()
    assert page.locator("#train").is_disabled()
    page.locator("#cancel").click()
    phase(page, Phase.CANCELLED)
    assert not list((tmp_path / "registry").iterdir())
    assert not list(tmp_path.glob("job-*"))


def test_what_is_missing_is_said_where_it_is_missing(browsed: Browsed, stage: Stage) -> None:
    page = browsed.see(stage.url)
    page.locator("#train").click()
    box = page.locator("#teach-problem .problem")
    box.wait_for()
    assert box.inner_text().startswith("name: none yet")
    on_pictures(page)
    page.locator("#prompt textarea").fill(" ")
    page.locator("#draw").click()
    box = page.locator("#columns .problem")
    box.wait_for()
    assert box.inner_text().startswith("prompt: none yet")


def test_drawing_can_be_stopped(browsed: Browsed, stage: Stage) -> None:
    stage.client.gate.clear()
    page = browsed.see(stage.url)
    on_pictures(page)
    page.locator("#prompt textarea").fill("a cat")
    page.locator("#draw").click()
    page.locator(".result img.coming").wait_for()
    page.locator("#stop").click()
    page.locator(".result[data-state=failed]").wait_for()
    assert all(stream.cancelled.is_set() for stream in stage.client.streams)


def test_a_password_keeps_strangers_out(browsed: Browsed, tmp_path: Path) -> None:
    with staged(tmp_path, password="open sesame") as guarded:
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{guarded.url}/config", timeout=SECONDS)
        page = browsed.page
        page.goto(guarded.url)
        for password, inside in (("open", False), ("open sesame", True)):
            page.locator("input[type=password]").fill(password)
            page.get_by_label("username").fill("anybody")
            page.get_by_role("button", name="login").click()
            page.locator("#photos" if inside else "text=/incorrect/i").first.wait_for()
