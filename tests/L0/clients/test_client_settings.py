"""Where a client's settings come from, and which it refuses."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from vico_client import TLS, AsyncClient, Client, InvalidRequest, VicoWarning
from vico_client.settings import DEFAULT_TIMEOUT, make_settings


def test_without_anything_it_is_this_machine() -> None:
    settings = make_settings(environment={})
    assert settings.addresses == ("localhost:8001",)
    assert (settings.timeout, settings.tls, settings.api_key, settings.metadata) == (DEFAULT_TIMEOUT, None, None, ())


def test_the_environment_says_everything() -> None:
    settings = make_settings(
        environment={
            "VICO_ADDRESS": "one:1, two:2,one:1",
            "VICO_TIMEOUT": "7.5",
            "VICO_API_KEY": "vico_secret",
            "VICO_TLS_ROOT_CERTIFICATES": "/ca.pem",
        }
    )
    assert settings.addresses == ("one:1", "two:2")
    assert settings.timeout == 7.5
    assert settings.tls == TLS("/ca.pem")
    assert settings.metadata == (("authorization", "Bearer vico_secret"),)


def test_arguments_come_before_the_environment() -> None:
    environment = {"VICO_ADDRESS": "one:1", "VICO_TIMEOUT": "7", "VICO_API_KEY": "no", "VICO_TLS_PRIVATE_KEY": "/k"}
    settings = make_settings(["two:2", "three:3"], 3, TLS("/ca"), "yes", environment)
    assert settings.addresses == ("two:2", "three:3")
    assert (settings.timeout, settings.tls, settings.api_key) == (3.0, TLS("/ca"), "yes")


@pytest.mark.parametrize(("value", "on"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_tls_with_the_shipped_authorities(value: str, on: bool) -> None:
    assert make_settings(environment={"VICO_TLS": value}).tls == (TLS() if on else None)


@pytest.mark.parametrize("address", ["", [], "one:1,", ["one:1", ""], "http://one:1", "grpcs://one:1"])
def test_an_address_is_host_and_port(address: str | list[str]) -> None:
    with pytest.raises(InvalidRequest, match="host:port") as caught:
        make_settings(address, environment={})
    assert caught.value.field == "address"


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_timeout_is_a_number_of_seconds(text: str) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        make_settings(environment={"VICO_TIMEOUT": text})


def test_nothing_shows_the_key(tmp_path: Path) -> None:
    settings = make_settings(api_key="vico_secret", environment={})
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("address", "tls", "warned"),
    [
        ("localhost:1", None, False),
        ("127.0.0.1:1,[::1]:2", None, False),
        ("unix:/run/vico", None, False),
        ("pictures.example.com:443", TLS(), False),
        ("pictures.example.com:443", None, True),
        ("localhost:1,10.0.0.7:1", None, True),
        ("localhost.example.com:1", None, True),
    ],
)
def test_a_key_in_the_clear_is_warned_of(address: str, tls: TLS | None, warned: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_settings(address, tls=tls, api_key="key", environment={})
    assert [warning.category for warning in caught] == [VicoWarning] * warned


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_warning_points_at_the_caller(kind: type[Client] | type[AsyncClient]) -> None:
    with pytest.warns(VicoWarning, match="api_key_in_the_clear") as caught:
        kind("pictures.example.com:443", api_key="key")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_missing_file_of_the_environment_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: type[Client] | type[AsyncClient]
) -> None:
    monkeypatch.setenv("VICO_TLS_ROOT_CERTIFICATES", "/no/such.pem")
    with pytest.raises(InvalidRequest, match="root_certificates: no file"):
        kind("localhost:8001")
