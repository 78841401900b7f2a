"""Several pictures at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vico_client import InvalidRequest, Unavailable

from studio.drawing import Column, Drawing
from studio.errors import StudioError
from studio.jobs import Jobs
from studio.registry import Registry
from studio.session import Studio, entries
from studio.wish import Wish
from studio.workshop import Workshop
from tests.helpers.concepts import make_concept
from tests.helpers.studio_fakes import FakeClient

WISHES = (Wish("a *", "teddy", seed=3), Wish("a toy", seed=3))


def a_studio(client: FakeClient, folder: Path) -> Studio:
    registry = Registry(folder)
    return Studio(
        Workshop(folder, registry, Jobs(), folder), client, registry, "localhost:8001", "http://localhost:8080"
    )


def until_preview(columns: Iterator[tuple[Column, ...]]) -> tuple[Column, ...]:
    return next(shown for shown in columns if all(column.picture for column in shown))


def test_columns_fill_up_from_nothing_over_previews_to_pictures() -> None:
    client = FakeClient(open=False)
    columns = iter(Drawing(client, WISHES))
    assert [(column.wish, column.picture, column.over) for column in next(columns)] == [(w, "", False) for w in WISHES]
    coarse = until_preview(columns)
    assert [(column.fraction, column.seconds_left, column.done) for column in coarse] == [(0.25, 2.0, False)] * 2
    assert coarse[0].picture.startswith("data:image/jpeg;base64,")
    client.gate.set()
    *_, last = columns
    assert [(column.done, column.problem, column.fraction) for column in last] == [(True, None, 1.0)] * 2
    assert last[0].picture.startswith("data:image/png;base64,")
    assert [(prompt, options["seed"], options.get("concept")) for prompt, options in client.asked] == [
        ("a *", 3, "teddy"),
        ("a toy", 3, None),
    ]


def test_what_fails_fails_alone() -> None:
    client = FakeClient(errors={"a toy": InvalidRequest("too long", field="prompt", hint="shorter")})
    *_, last = Drawing(client, WISHES)
    assert last[0].done
    assert last[1].problem is not None
    assert (last[1].problem.field, last[1].problem.hint) == ("prompt", "shorter")
    [kept] = entries(last)
    assert (kept.prompt, kept.concept, kept.seed) == ("a *", "teddy", 3)


def test_leaving_early_frees_the_server() -> None:
    client = FakeClient(open=False)
    columns = Drawing(client, WISHES).__iter__()
    next(columns)
    columns.close()  # type: ignore[attr-defined]
    assert all(stream.cancelled.is_set() for stream in client.streams)


def test_stopping_ends_what_a_session_draws_and_no_other(tmp_path: Path) -> None:
    client = FakeClient(open=False)
    studio = a_studio(client, tmp_path)
    one = studio.draw("one", Wish("a cat"), [], plain=True)
    two = studio.draw("two", Wish("a dog"), [], plain=True)
    next(one), next(two)
    studio.stop("one")
    *_, last = one
    assert [(column.done, str(column.problem)) for column in last] == [(False, "picture: stopped")]
    assert not client.streams[1].cancelled.is_set()
    client.gate.set()
    assert list(two)[-1][0].done
    studio.stop("two")


def test_drawing_anew_ends_what_the_session_drew_before(tmp_path: Path) -> None:
    client = FakeClient(open=False)
    studio = a_studio(client, tmp_path)
    first = studio.draw("one", Wish("a cat"), [], plain=True)
    next(first)
    second = studio.draw("one", Wish("a dog"), [], plain=True)
    next(second)
    assert client.streams[0].cancelled.is_set()
    *_, last = first
    assert last[0].problem is not None
    client.gate.set()
    assert list(second)[-1][0].done


def test_concepts_are_named_by_the_server_and_aliases_followed(tmp_path: Path) -> None:
    make_concept(tmp_path, "teddy")
    client = FakeClient(names={"teddy": "teddy@" + "0" * 64, "mine": "teddy@" + "0" * 64, "far": ""})
    studio = a_studio(client, tmp_path)
    assert studio.concept_names() == ["teddy", "mine", "far"]
    assert [known.found for known in studio.known(["teddy", "mine", "far"])] == [True, True, False]


def test_a_server_that_does_not_answer_is_no_catastrophe(tmp_path: Path) -> None:
    studio = a_studio(FakeClient(unreachable=Unavailable("gone")), tmp_path)
    assert studio.concept_names() == []
    assert not studio.known(["nobody"])[0].found


def test_a_wish_that_is_not_complete_asks_nobody(tmp_path: Path) -> None:
    client = FakeClient()
    with pytest.raises(StudioError, match=r"^prompt: "):
        list(a_studio(client, tmp_path).draw("one", Wish("a toy"), ["teddy"], plain=True))
    assert not client.asked
