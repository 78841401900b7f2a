"""What the page shows of jobs, pictures and history, as HTML; every text in it is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from studio.errors import Problem

if TYPE_CHECKING:
    from studio.drawing import Column
    from studio.history import Entry
    from studio.jobs import Snapshot

_THUMBNAIL = (96, 96)


def data_url(content: bytes, kind: str) -> str:
    """kind: `png`, `jpeg`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_url(image: Image.Image) -> str:
    """A picture as a JPEG data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return data_url(buffer.getvalue(), "jpeg")


def thumbnail_url(picture: str) -> str:
    """A data URL → a small one."""
    image = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).convert("RGB")
    image.thumbnail(_THUMBNAIL)
    return jpeg_url(image)


def problem_html(problem: Problem | None) -> str:
    """A box that says what is wrong; "" if nothing is."""
    if problem is None:
        return ""
    hint = f"<span class='hint'>{escape(problem.hint)}</span>" if problem.hint else ""
    return f"<div class='problem' role='alert'><b>{escape(problem.field)}</b>: {escape(problem.problem)}{hint}</div>"


def photos_html(snapshot: Snapshot) -> str:
    """Photos with what is seen in them; "" before they were looked at."""
    if not snapshot.photos:
        return ""
    cells = "".join(
        f"<figure class='pair'><img alt='photo {number}' src='data:image/jpeg;base64,{escape(seen.photo)}'>"
        f"<img alt='mask over photo {number}' src='data:image/jpeg;base64,{escape(seen.masked)}'></figure>"
        for number, seen in enumerate(snapshot.photos, 1)
    )
    word = escape(snapshot.word)
    return (
        f"<p class='note'>Beside each photo: where “{word}” was found. Bright is learned as the thing, dark as its"
        f" surroundings. If the thing is dark, try another word, or photos that show it larger.</p>"
        f"<div class='pairs'>{cells}</div>"
    )


def job_html(snapshot: Snapshot) -> str:
    """How the job stands."""
    name, box = escape(snapshot.name), problem_html(snapshot.problem)
    if snapshot.problem is not None:
        return box
    said = {
        "idle": "",
        "looking": "Looking at the photos …",
        "looked": "",
        "training": f"Learning <b>{name}</b> …",
        "done": f"<b>{name}</b> is learned. Ask for pictures of it under “Make pictures”.",
        "cancelled": "Cancelled. Nothing was kept.",
    }.get(snapshot.phase, "")
    bar = _bar(snapshot.step / snapshot.steps) if snapshot.steps else ("" if not snapshot.busy else _bar(None))
    steps = f"<p class='note'>{_steps(snapshot)}</p>" if snapshot.steps and snapshot.phase == "training" else ""
    drawn = "".join(
        f"<figure><img alt='{escape(picture.prompt)}' src='data:image/jpeg;base64,{escape(picture.picture)}'>"
        f"<figcaption>{escape(picture.prompt)}</figcaption></figure>"
        for picture in snapshot.pictures
    )
    pictures = f"<div class='drawn'>{drawn}</div>" if drawn else ""
    if not said:
        return ""
    inside = f"<p>{said}</p>{bar if snapshot.busy else ''}{steps}{pictures}"
    return f"<div class='job' data-phase='{snapshot.phase}'>{inside}</div>"


def columns_html(columns: Sequence[Column]) -> str:
    """The pictures side by side."""
    return f"<div class='results results-{len(columns)}'>{''.join(map(_column, columns))}</div>" if columns else ""


def history_html(history: Sequence[Entry]) -> str:
    """Thumbnails that can be pressed; each says by `data-index` which it is."""
    if not history:
        return "<p class='note'>Pictures that you make appear here. They stay in this browser only.</p>"
    cells = "".join(
        f"<button type='button' class='entry' data-index='{index}' title='{escape(entry.prompt)}'>"
        f"<img alt='{escape(entry.prompt)}' src='{escape(entry.thumbnail)}'>"
        f"<span>{escape(entry.concept or 'plain base')}<br>seed {entry.seed}</span></button>"
        for index, entry in enumerate(history)
    )
    return f"<div class='entries'>{cells}</div>"


def _column(column: Column) -> str:
    wish = column.wish
    if column.problem is not None:
        inside = problem_html(column.problem)
    elif column.picture:
        state = "" if column.done else " class='coming'"
        inside = f"<img{state} alt='{escape(wish.prompt)}' src='{column.picture}'>"
    else:
        inside = "<div class='empty'></div>"
    if column.done:
        named = f"{escape(wish.title.replace(' ', '-'))}-{wish.seed}.png"
        below = f"<a download='{named}' href='{column.picture}'>Download</a> <span>seed {wish.seed}</span>"
    elif column.problem is None:
        below = f"{_bar(column.fraction)}{_left(column.seconds_left)}"
    else:
        below = ""
    state = "done" if column.done else "failed" if column.problem else "drawing"
    return (
        f"<figure class='result' data-state='{state}'><figcaption class='title'>{escape(wish.title)}</figcaption>"
        f"{inside}<figcaption>{below}</figcaption></figure>"
    )


def _bar(fraction: float | None) -> str:
    """None: nobody knows how far."""
    value = "" if fraction is None else f" value='{fraction:.3f}'"
    return f"<progress max='1'{value}></progress>"


def _steps(snapshot: Snapshot) -> str:
    return f"Step {snapshot.step} of {snapshot.steps}{_left(snapshot.seconds_left, ', ')}"


def _left(seconds: float | None, before: str = "") -> str:
    if seconds is None:
        return ""
    if seconds >= 90:
        return f"{before}about {round(seconds / 60)} minutes left"
    return f"{before}about {max(round(seconds), 1)} s left"
