"""What comes back from a browser is taken for what it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.history import MAX_ENTRIES, Entry, add, entry_of, read_history, to_stored
from studio.markup import data_url, history_html, thumbnail_url
from studio.wish import Wish
from tests.helpers.studio_fakes import png

THUMBNAIL = thumbnail_url(data_url(png(), "png"))
ENTRY = entry_of(Wish("a *", "teddy", 7, 0.5, 4.0, "fast", None, "text"), THUMBNAIL)


def test_what_is_stored_is_read_back() -> None:
    stored = json.loads(json.dumps(to_stored([ENTRY])))
    assert read_history(stored) == (ENTRY,)


def test_the_newest_first_and_the_oldest_go() -> None:
    entries = [entry_of(Wish("a", seed=seed), THUMBNAIL) for seed in range(MAX_ENTRIES + 3)]
    history: tuple[Entry, ...] = ()
    for entry in entries:
        history = add(history, [entry])
    assert [entry.seed for entry in history] == list(range(MAX_ENTRIES + 2, 2, -1))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": "x"},
        {"image_guidance": 2},
        {"prompt": ""},
        {"preset": "'><script>"},
        {"thumbnail": "https://example.com/track.gif"},
        {"thumbnail": "data:image/jpeg;base64,AA'onerror='x"},
        {"thumbnail": "data:image/svg+xml;base64,AAAA"},
        {"steps": 1_000},
    ],
)
def test_what_is_no_entry_is_passed_over(change: dict[str, Any]) -> None:
    [good] = to_stored([ENTRY])
    assert read_history([good | change, good]) == (ENTRY,)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(list(to_stored([ENTRY])[0])), inner),
    max_leaves=8,
)


@given(_JSON)
def test_nothing_a_browser_stores_can_break_the_page(stored: object) -> None:
    assert len(read_history(stored)) <= MAX_ENTRIES


@given(st.text(min_size=1, max_size=200), st.text(max_size=50))
def test_texts_are_escaped(prompt: str, concept: str) -> None:
    shown = history_html([entry_of(Wish(f"<script>{prompt}'\"", f"<b>{concept}"), THUMBNAIL)])
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert shown.count("'") % 2 == 0
