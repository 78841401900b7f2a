"""The tab where pictures are made: prompt, strength, comparison, history, code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.drawing import Column
from studio.errors import StudioError, problem_of
from studio.history import Entry, add, read_history, to_stored
from studio.markup import columns_html, history_html, problem_html
from studio.session import Studio, entries
from studio.snippets import curl_code, python_code
from studio.wish import Wish, checked_seed, checked_steps

PRESETS = [("quick", "fast"), ("balanced", "balanced"), ("best", "quality")]
_CHOOSE = """
element.addEventListener('click', event => {
    const entry = event.target.closest('.entry');
    if (entry) trigger('click', {index: Number(entry.dataset.index)});
});
"""


@dataclass(frozen=True)
class MakeTab:
    """Its components."""

    concepts: gr.Dropdown
    prompt: gr.Textbox
    strength: gr.Slider
    plain: gr.Checkbox
    seed: gr.Textbox
    guidance: gr.Slider
    preset: gr.Radio
    steps: gr.Textbox
    negative: gr.Textbox
    draw: gr.Button
    stop: gr.Button
    columns: gr.HTML
    python: gr.Code
    curl: gr.Code
    history: gr.HTML

    @property
    def form(self) -> list[Any]:
        """What a wish is made of, in the order of `_wish`; the history restores it."""
        return [
            self.concepts,
            self.prompt,
            self.strength,
            self.plain,
            self.seed,
            self.guidance,
            self.preset,
            self.steps,
            self.negative,
        ]


def build_make_tab() -> MakeTab:
    """Inside a `gr.Tab`."""
    with gr.Row():
        with gr.Column(min_width=300, scale=2):
            concepts = gr.Dropdown(
                [],
                multiselect=True,
                allow_custom_value=True,
                label="Your things",
                elem_id="concepts",
            )
            prompt = gr.Textbox(
                label="What to show (* = your thing)",
                value="a photo of a * on the beach",
                lines=2,
                elem_id="prompt",
            )
            strength = gr.Slider(0, 1.5, value=1, step=0.05, label="Likeness to photos", buttons=[], elem_id="strength")
            plain = gr.Checkbox(value=True, label="Compare with the plain base", elem_id="plain")
            with gr.Accordion("More", open=False, elem_id="make-more"):
                seed = gr.Textbox(label="Seed (empty: a new one each time)", max_lines=1, elem_id="seed")
                guidance = gr.Slider(
                    1, 15, value=7.5, step=0.5, label="Likeness to words", buttons=[], elem_id="guidance"
                )
                preset = gr.Radio(PRESETS, value="balanced", label="Speed", elem_id="preset")
                steps = gr.Textbox(label="Steps (empty: as the speed says)", max_lines=1, elem_id="draw-steps")
                negative = gr.Textbox(label="What not to show", elem_id="negative")
            with gr.Row():
                draw = gr.Button("Draw", variant="primary", min_width=120, elem_id="draw")
                stop = gr.Button("Stop", variant="stop", min_width=120, visible=False, elem_id="stop")
        with gr.Column(min_width=300, scale=3):
            columns = gr.HTML("<div class='results'><div class='empty'></div></div>", elem_id="columns")
    gr.HTML("<h3>Before</h3>")
    history = gr.HTML(history_html(()), js_on_load=_CHOOSE, elem_id="history")
    with gr.Accordion("The same by code", open=False, elem_id="code"):
        with gr.Tab("Python"):
            python = gr.Code(
                language="python",
                interactive=False,
                wrap_lines=True,
                show_line_numbers=False,
                show_label=False,
                elem_id="python",
            )
        with gr.Tab("curl"):
            curl = gr.Code(
                language="shell",
                interactive=False,
                wrap_lines=True,
                show_line_numbers=False,
                show_label=False,
                elem_id="curl",
            )
    return MakeTab(
        concepts,
        prompt,
        strength,
        plain,
        seed,
        guidance,
        preset,
        steps,
        negative,
        draw,
        stop,
        columns,
        python,
        curl,
        history,
    )


def wire_make_tab(studio: Studio, tab: MakeTab, stored: gr.BrowserState) -> None:
    """Its buttons."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def draw(request: gr.Request, kept: object, *form: Any) -> Iterator[list[Any]]:
        yield from _draw(studio, request.session_hash or "", read_history(kept), form)

    def stop(request: gr.Request) -> None:
        studio.stop(request.session_hash or "")

    def guided(names: list[str] | None) -> Any:
        [*known] = studio.known((names or [])[:1])
        return gr.update(value=known[0].guidance_scale) if known else gr.skip()

    def restore(kept: object, event: gr.EventData) -> list[Any]:
        history = read_history(kept)
        index = getattr(event, "index", -1)
        if not isinstance(index, int) or not 0 <= index < len(history):
            return [gr.skip() for _ in [*tab.form, tab.python, tab.curl]]
        return [*_form_of(history[index]), *_code(studio, _wish_of(history[index]))]

    outputs: list[Any] = [tab.columns, tab.draw, tab.stop, tab.python, tab.curl, stored, tab.history]
    tab.draw.click(draw, [stored, *tab.form], outputs, concurrency_limit=8, **private)
    tab.stop.click(stop, queue=False, **private)
    tab.concepts.input(guided, tab.concepts, tab.guidance, queue=False, **private)
    tab.history.click(restore, stored, [*tab.form, tab.python, tab.curl], queue=False, **private)


def _draw(studio: Studio, session: str, history: Sequence[Entry], form: Sequence[Any]) -> Iterator[list[Any]]:
    """Values of columns, draw, stop, python, curl, stored history and its thumbnails."""
    idle, busy = (
        [gr.update(interactive=True), gr.update(visible=False)],
        [gr.update(interactive=False), gr.update(visible=True)],
    )
    columns: tuple[Column, ...] = ()
    try:
        wish = _wish(*form[1:3], *form[4:])
        for columns in studio.draw(session, wish, form[0] or [], plain=form[3]):
            yield [columns_html(columns), *busy, *_code(studio, columns[0].wish), gr.skip(), gr.skip()]
    except StudioError as error:
        yield [problem_html(problem_of(error)), *idle, *[gr.skip()] * 4]
        return
    kept = add(history, entries(columns))
    yield [gr.skip(), *idle, gr.skip(), gr.skip(), to_stored(kept), history_html(kept)]


def _code(studio: Studio, wish: Wish) -> tuple[str, str]:
    return python_code(wish, studio.address), curl_code(wish, studio.gateway)


def _wish(
    prompt: str | None,
    strength: float,
    seed: str | None,
    guidance: float,
    preset: str,
    steps: str | None,
    negative: str | None,
) -> Wish:
    return Wish(
        prompt=prompt or "",
        seed=checked_seed(seed),
        image_guidance=strength,
        guidance_scale=guidance,
        preset=preset,
        steps=checked_steps(steps),
        negative_prompt=(negative or "").strip(),
    )


def _wish_of(entry: Entry) -> Wish:
    return Wish(
        entry.prompt,
        entry.concept,
        entry.seed,
        entry.image_guidance,
        entry.guidance_scale,
        entry.preset,
        entry.steps,
        entry.negative_prompt,
    )


def _form_of(entry: Entry) -> list[Any]:
    """Values of `MakeTab.form`."""
    concepts = [entry.concept] if entry.concept else []
    return [
        concepts,
        entry.prompt,
        entry.image_guidance,
        not concepts,
        str(entry.seed),
        entry.guidance_scale,
        entry.preset,
        str(entry.steps or ""),
        entry.negative_prompt,
    ]
