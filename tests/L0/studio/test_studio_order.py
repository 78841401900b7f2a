from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.child import read_event, train_command
from studio.errors import StudioError
from studio.order import make_order, slug
from training.events import Refused, Written, as_line
from vico.concept import validate_concept_id
from vico.errors import ConceptError

GOOD: dict[str, Any] = {"name": "My Teddy!", "word": " Toy ", "photos": ["/tmp/a.png"]}


def test_an_order_is_what_was_typed_made_orderly() -> None:
    order = make_order(**GOOD, steps=" 30 ", licence=" mine ", keep=True)
    assert (order.name, order.word, order.photos) == ("my-teddy", "toy", (Path("/tmp/a.png"),))
    assert (order.steps, order.licence, order.keep, order.replace) == (30, "mine", True, False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "!!!"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"word": ""}, "what is it"),
        ({"word": "dog; rm -rf"}, "what is it"),
        ({"steps": "0"}, "steps"),
        ({"steps": "1000000000"}, "steps"),
    ],
)
def test_a_form_that_is_not_filled_in_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(StudioError) as caught:
        make_order(**GOOD | changes)
    assert caught.value.field == field
    assert caught.value.accepted


@given(st.text(max_size=80))
def test_a_slug_is_a_concept_id_or_nothing(name: str) -> None:
    made = slug(name)
    assert slug(made) == made
    if made and len(made) <= 64:
        assert validate_concept_id(made) == made
    elif made:
        with pytest.raises(ConceptError):
            validate_concept_id(made)


def test_the_command_holds_what_was_typed_as_values_never_as_options() -> None:
    order = make_order("a", "toy", ["/tmp/a.png"], licence="--look --out=/etc/passwd", steps="5")
    command = train_command(order, Path("/base"), Path("/work"), look=False)
    typed = command[command.index("train") + 1 :]
    assert typed == [
        "--base=/base",
        "--photos=/work/photos",
        "--init-word=toy",
        "--out=/work/a.safetensors",
        "--steps=5",
        "--licence=--look --out=/etc/passwd",
        "--json",
    ]
    assert train_command(order, Path("/base"), Path("/work"), look=True)[-1] == "--look"


@pytest.mark.parametrize("event", [Written("a", "0" * 64), Refused("photos", "none", "some")])
def test_what_the_trainer_says_is_understood(event: Written | Refused) -> None:
    read = read_event(as_line(event))
    assert read is not None
    assert re.match(f"{type(event).__name__}\\(", repr(read))


@given(st.text())
def test_other_lines_are_no_events(line: str) -> None:
    assert read_event(line) is None
