"""The tab where a thing is taught: photos, name and word → masks, progress, concept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.errors import StudioError, problem_of
from studio.jobs import Phase, Snapshot
from studio.markup import job_html, photos_html, problem_html
from studio.order import Order, make_order
from studio.session import Studio


@dataclass(frozen=True)
class TeachTab:
    """Its components."""

    photos: gr.File
    name: gr.Textbox
    word: gr.Textbox
    steps: gr.Textbox
    licence: gr.Textbox
    keep: gr.Checkbox
    replace: gr.Checkbox
    look: gr.Button
    train: gr.Button
    cancel: gr.Button
    problem: gr.HTML
    seen: gr.HTML
    job: gr.HTML

    @property
    def form(self) -> list[Any]:
        """What an order is made of, in the order of `_order`."""
        return [self.photos, self.name, self.word, self.steps, self.licence, self.keep, self.replace]

    @property
    def shown(self) -> list[Any]:
        """What a snapshot decides, in the order of `show`."""
        return [self.seen, self.job, self.look, self.train, self.cancel]


def build_teach_tab(studio: Studio) -> TeachTab:
    """Inside a `gr.Tab`."""
    with gr.Row():
        with gr.Column(min_width=300):
            photos = gr.File(
                label="1 to 7 photos of one thing",
                file_count="multiple",
                file_types=["image"],
                height=170,
                elem_id="photos",
            )
            with gr.Row():
                name = gr.Textbox(label="Name", placeholder="my-teddy", max_lines=1, min_width=120, elem_id="name")
                word = gr.Textbox(label="What is it?", placeholder="toy", max_lines=1, min_width=120, elem_id="word")
            with gr.Accordion("More", open=False, elem_id="teach-more"):
                steps = gr.Textbox(label="Training steps (empty: as usual)", max_lines=1, elem_id="steps")
                licence = gr.Textbox(
                    label="Whose photos are they? (kept in the concept)",
                    placeholder="mine; nobody is in them",
                    max_lines=2,
                )
                keep = gr.Checkbox(label="Keep the photos after training", visible=studio.workshop.kept is not None)
                replace = gr.Checkbox(label="Replace the concept that has this name", elem_id="replace")
            problem = gr.HTML(elem_id="teach-problem")
            with gr.Row():
                look = gr.Button("Check photos", min_width=120, elem_id="look")
                train = gr.Button("Train", variant="primary", min_width=120, elem_id="train")
                cancel = gr.Button("Cancel", variant="stop", min_width=120, visible=False, elem_id="cancel")
            gr.HTML(f"<p class='note'>{_PROMISE}</p>")
        with gr.Column(min_width=300):
            job = gr.HTML(elem_id="job")
            seen = gr.HTML(elem_id="seen")
    return TeachTab(photos, name, word, steps, licence, keep, replace, look, train, cancel, problem, seen, job)


_PROMISE = (
    "Photos are deleted once they are learned, unless you say otherwise. The concept itself holds a compressed form of"
    " some of them: share it as you would share the photos."
)


def wire_teach_tab(studio: Studio, tab: TeachTab) -> None:
    """Its buttons; what they begin shows at the next tick of the page."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    begin = {tab.look: studio.workshop.look, tab.train: studio.workshop.train}
    for button, method in begin.items():
        button.click(_begin(method), tab.form, [tab.problem], **quiet)
    tab.cancel.click(studio.workshop.jobs.cancel, **quiet)


def show(snapshot: Snapshot) -> list[Any]:
    """Values of `TeachTab.shown`."""
    return [
        photos_html(snapshot),
        job_html(snapshot),
        gr.update(interactive=not snapshot.busy),
        gr.update(interactive=not snapshot.busy),
        gr.update(visible=snapshot.busy),
    ]


def finished(snapshot: Snapshot) -> bool:
    """Whether there is a new concept."""
    return snapshot.phase is Phase.DONE


def _begin(method: Callable[[Order], None]) -> Callable[..., str]:
    def begin(
        photos: list[str] | None,
        name: str | None,
        word: str | None,
        steps: str | None,
        licence: str | None,
        keep: bool | None,
        replace: bool | None,
    ) -> str:
        try:
            # what nobody has opened or touched comes as None
            order = make_order(
                name or "",
                word or "",
                photos,
                steps=steps,
                licence=licence or "",
                keep=bool(keep),
                replace=bool(replace),
            )
            method(order)
        except StudioError as error:
            return problem_html(problem_of(error))
        return ""

    return begin
