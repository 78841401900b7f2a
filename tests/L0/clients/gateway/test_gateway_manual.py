"""docs/gateway.md says all that the gateway takes and answers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from vico_client.gateway.fields import BASE, PRESETS, ImageFields, VicoFields
from vico_client.gateway.refusal import CODES

PAGE = (Path(__file__).parents[4] / "docs" / "gateway.md").read_text(encoding="utf-8")
_OF_REQUESTS = {"unknown_parameter", "unknown_url", "request_too_large", "forbidden"}


def _table(heading: str) -> str:
    return PAGE.partition(heading)[2].partition("\n\n")[0]


def test_every_field_is_explained() -> None:
    first, second = (set(re.findall(r"`(\w+)`", row)) for row in (_table("| field | here |"), _table("| `vico` |")))
    assert set(ImageFields.model_fields) <= first | {"model", "prompt"}
    assert set(VicoFields.model_fields) <= first | second
    assert BASE in PAGE


def test_every_quality_has_its_preset() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `quality`"))
    for quality, preset in PRESETS.items():
        assert f"`{quality}`" in row
        assert preset is None or f"→ `{preset}`" in row


def test_every_error_is_listed() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    listed = {code for _, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert listed == {code for _, code in CODES} | _OF_REQUESTS
    statuses = {int(number) for numbers, _ in rows for number in numbers.split(",")}
    assert statuses >= {status for status, _ in CODES}
