"""The page: two tabs, and a tick that shows how the training stands to whoever looks."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.history import read_history
from studio.make_tab import MakeTab, build_make_tab, wire_make_tab
from studio.markup import history_html
from studio.session import Studio
from studio.teach_tab import TeachTab, build_teach_tab, finished, show, wire_teach_tab

TITLE = "ViCo studio"
_TICK = 1.0  # seconds
_CLEAN = (600, 3600)  # seconds: how often uploads are looked through, how old they may get
# Gradio wants one that outlives the process. What it veils is the reader's own, in the reader's own browser.
_VEIL = "vico-studio"
_HEADER = "<header><h1>ViCo studio</h1><p>Pictures of your own things.</p></header>"


def build_page(studio: Studio) -> gr.Blocks:
    """Ready to be mounted."""
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_CLEAN)
    with page:
        stored = gr.BrowserState([], storage_key="vico-studio-history", secret=_VEIL)
        version = gr.State(-1)
        gr.HTML(_HEADER)
        with gr.Tabs():
            with gr.Tab("Teach a thing", id="teach", elem_id="teach"):
                teach = build_teach_tab(studio)
            with gr.Tab("Make pictures", id="make", elem_id="make"):
                make = build_make_tab()
        wire_teach_tab(studio, teach)
        wire_make_tab(studio, make, stored)
        _wire_page(studio, page, version, stored, teach, make)
    return page


def _wire_page(
    studio: Studio, page: gr.Blocks, version: gr.State, stored: gr.BrowserState, teach: TeachTab, make: MakeTab
) -> None:
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def tick(seen: int, chosen: list[str] | None) -> list[Any]:
        snapshot = studio.workshop.snapshot
        if snapshot.version == seen:
            return [gr.skip() for _ in range(len(teach.shown) + 3)]
        guidance, concepts = gr.skip(), gr.skip()
        if finished(snapshot):
            concepts = gr.update(choices=studio.concept_names(), value=chosen or [snapshot.name])
            guidance = gr.skip() if chosen else gr.update(value=studio.registry.known(snapshot.name).guidance_scale)
        return [snapshot.version, concepts, guidance, *show(snapshot)]

    def load(kept: object) -> list[Any]:
        return [gr.update(choices=studio.concept_names()), history_html(read_history(kept))]

    def leave(request: gr.Request) -> None:
        studio.stop(request.session_hash or "")

    shown: list[Any] = [version, make.concepts, make.guidance, *teach.shown]
    gr.Timer(_TICK).tick(tick, [version, make.concepts], shown, queue=False, **private)
    page.load(load, [stored], [make.concepts, make.history], queue=False, **private)
    page.unload(leave)
