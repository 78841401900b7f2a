"""`vico_concepts`: which names a caller is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_serving_stages import Server, called_by

from serving.caller import Caller
from serving.concepts import listing
from serving.concepts.control_log import ControlLog
from serving.concepts.folder import FolderSource
from serving.errors import InvalidField
from serving.stages.stage import bytes_tensor
from tests.helpers.concepts import make_concept

EVERYBODY = Caller("shop", "acme", ("*",), "call")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    served = Server(tmp_path)
    for name in ("toy", "acme-hen", "other-cow"):
        make_concept(served.registry_folder, name)
    return served


def listed(server: Server, pattern: str | bytes = "*", caller: Caller = EVERYBODY) -> dict[str, Any]:
    content = pattern.encode() if isinstance(pattern, str) else pattern
    outputs = server.text({"pattern": bytes_tensor([content])} | called_by(caller))
    assert set(outputs) == {"concepts"}
    answer: dict[str, Any] = json.loads(outputs["concepts"][0])
    return answer


def names(server: Server, pattern: str = "*", caller: Caller = EVERYBODY) -> list[str]:
    return [item["name"] for item in listed(server, pattern, caller)["concepts"]]


def digest(server: Server, name: str) -> str:
    """As a request resolves it."""
    concept: str = json.loads(server.tensors(prompt="a *", concept=name, steps=1)["info"][0])["concept"]
    return concept.partition("@")[2]


def test_names_in_order_and_by_pattern(server: Server) -> None:
    assert names(server) == ["acme-hen", "other-cow", "toy"]
    assert names(server, "*-*") == ["acme-hen", "other-cow"]
    assert names(server, "to?") == ["toy"]
    assert names(server, "hen") == []


def test_a_version_is_known_once_it_is_loaded(server: Server) -> None:
    assert {item["version"] for item in listed(server)["concepts"]} == {""}
    version = f"toy@{digest(server, 'toy')}"
    assert listed(server, "toy")["concepts"] == [{"name": "toy", "version": version}]


def test_a_caller_sees_what_is_its_own(server: Server) -> None:
    assert names(server, caller=Caller("shop", "acme", ("acme-*", "to?"), "call")) == ["acme-hen", "toy"]
    assert names(server, caller=Caller("shop", "acme", (), "call")) == []


def test_aliases_are_names_and_tell_nothing_of_what_is_hidden(server: Server) -> None:
    cow = digest(server, "other-cow")
    ControlLog(FolderSource(server.registry_folder)).change(
        lambda control: control.with_alias("acme-cow", f"other-cow@{cow}")
    )
    shown = listed(server, caller=Caller("shop", "acme", ("acme-*",), "call"))
    assert shown["concepts"] == [
        {"name": "acme-cow", "version": f"acme-cow@{cow}"},
        {"name": "acme-hen", "version": ""},
    ]
    assert "other" not in json.dumps(shown)


def test_what_is_gone_or_no_package_is_not_listed(server: Server) -> None:
    digest(server, "toy")
    (server.registry_folder / "toy.safetensors").unlink()
    for other in ("README.md", "Not An Id.safetensors", "toy.safetensors.sig"):
        (server.registry_folder / other).write_bytes(b"")
    assert names(server) == ["acme-hen", "other-cow"]


def test_a_long_list_is_cut_and_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTED", 2)
    answer = listed(server)
    assert ([item["name"] for item in answer["concepts"]], answer["more"]) == (["acme-hen", "other-cow"], True)
    assert not listed(server, "*-*")["more"]


@pytest.mark.parametrize("pattern", ["", "a" * 65, "A", "[a]", "a/b", "a b", b"\xff"])
def test_another_form_is_refused(server: Server, pattern: str | bytes) -> None:
    with pytest.raises(InvalidField) as caught:
        listed(server, pattern)
    assert caught.value.field == "pattern"


def test_nobody_lists_without_the_front_doors_seal(server: Server) -> None:
    with pytest.raises(InvalidField, match="caller"):
        server.text({"pattern": bytes_tensor([b"*"])})
