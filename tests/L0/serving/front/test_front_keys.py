"""Who a key belongs to, how often its client may ask, and where a server without keys may listen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.errors import LaunchError
from serving.front.cli import Action, keys
from serving.front.config import FrontConfig, Limits, TLSFiles
from serving.front.exposure import require_safe
from serving.front.gate import Gate
from serving.front.identity import LOCAL, USER_HEADER, identify, sharer
from serving.front.keys import Key, KeyFile, find, hashed, make_key, read_keys, write_keys
from serving.front.refusal import Refused
from serving.private import Private


def key_of(client: str, shown: str, **more: Any) -> Key:
    return Key(client=client, tenant="acme", sha256=hashed(shown), **more)


def bearer(shown: str) -> list[tuple[str, Any]]:
    return [("authorization", f"Bearer {shown}")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    write_keys(path, [key_of("shop", "one", concepts=("acme-*",)), key_of("blog", "two")])
    return path


def test_keys_cross_the_file_as_hashes(file: Path) -> None:
    assert [key.client for key in read_keys(file)] == ["shop", "blog"]
    assert "one" not in json.loads(file.read_text())[0].values()
    assert file.stat().st_mode & 0o077 == 0
    assert len(make_key()) > 40
    assert make_key() != make_key()


def test_the_users_of_an_application_share_as_clients_do() -> None:
    application, shop = key_of("app", "k", users=True), key_of("shop", "k")
    ann, bob = ([(USER_HEADER, letter * 32)] for letter in "ab")
    assert len({sharer(ann, application), sharer(bob, application), sharer([], application)}) == 3
    assert sharer(ann, application) != sharer(ann, LOCAL)
    assert sharer(ann, shop) == "shop"
    for odd in ([*ann, *bob], [(USER_HEADER, "a" * 33)], [(USER_HEADER, "Ann")], [(USER_HEADER, b"a" * 32)]):
        assert sharer(odd, application) == "app"


def test_every_hash_is_compared_whoever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [key_of(f"c{k}", f"k{k}") for k in range(5)]
    compared: list[str] = []

    def compare(one: str, _other: str) -> bool:
        compared.append(one)
        return one == _other

    monkeypatch.setattr("hmac.compare_digest", compare)
    for shown in ("k0", "k4", "none"):
        compared.clear()
        found = find(known, shown)
        assert (found.client if found else "none") == shown.replace("k", "c")
        assert len(compared) == 5


BAD_HEADERS: list[list[tuple[str, Any]]] = [
    [], [("authorization", "one")], [("authorization", "bearer one")], [("authorization", "Bearer  one")],
    [("authorization", "Bearer one ")], [("authorization", "Bearer ")], [("authorization", "Basic one")],
    [("authorization", b"Bearer one")], [*bearer("one"), *bearer("one")], [("authorization-bin", b"Bearer one")],
    [("x-authorization", "Bearer one")], [("api-key", "one")], bearer("three"), bearer("ONE"), bearer(hashed("one")),
    [("%61uthorization", "Bearer one")], [("authorization", "Bearer one, Bearer two")],
]  # fmt: skip


@pytest.mark.parametrize("metadata", BAD_HEADERS, ids=str)
def test_only_one_header_of_one_form_counts(file: Path, metadata: list[tuple[str, Any]]) -> None:
    with pytest.raises(Refused, match="authorization: no valid API key") as caught:
        identify(metadata, KeyFile(file))
    assert caught.value.status is grpc.StatusCode.UNAUTHENTICATED
    assert identify(bearer("one"), KeyFile(file)).client == "shop"


def test_without_keys_everybody_is_local() -> None:
    assert identify([], None) is LOCAL


def test_a_revoked_key_is_refused_at_the_next_call_and_a_torn_file_changes_nothing(file: Path) -> None:
    known = KeyFile(file)
    file.write_text("{")
    assert known.find("one")
    write_keys(file, [key_of("blog", "two")])
    assert known.find("one") is None
    assert known.find("two")
    file.unlink()
    assert known.find("two") is None, "a file that is taken away takes everybody with it"


@pytest.mark.parametrize(
    "content",
    ["", "{}", '[{"client": "a"}]', '[{"client": "A B", "tenant": "t", "sha256": "' + "0" * 64 + '"}]',
     '[{"client": "a", "tenant": "t", "sha256": "plain"}]',
     '[{"client": "a", "tenant": "t", "sha256": "' + "0" * 64 + '", "requests_per_minute": -1}]',
     '[{"client": "a", "tenant": "t", "sha256": "' + "0" * 64 + '", "concepts": ["../x"]}]'],
)  # fmt: skip
def test_a_malformed_file_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(LaunchError, match="keys: malformed"):
        KeyFile(tmp_path / "keys.json")
    with pytest.raises(LaunchError, match="keys: no such file"):
        KeyFile(tmp_path / "none.json")


def test_a_file_that_others_may_write_to_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, [key_of("shop", "x")])
    counting = KeyFile(file)
    write_keys(file, [key_of("shop", "x"), key_of("thief", "y")])
    file.chmod(0o666)
    assert counting.find("x")
    assert not counting.find("y"), "the file's last good version counts"
    for mode in (0o620, 0o602):
        file.chmod(mode)
        with pytest.raises(LaunchError, match="keys: others than its owner may write to it"):
            KeyFile(file)
    file.chmod(0o644)
    assert KeyFile(file).find("y"), "hashes may be read"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_kept_and_recovers() -> None:
    clock = Clock()
    gate = Gate(Limits(), clock)
    gate.serving = True
    key = key_of("shop", "x", requests_per_minute=2)

    def ask() -> bool:
        try:
            with gate.call(key):
                return True
        except Refused as error:
            refusals.append(error)
            return False

    refusals: list[Refused] = []
    assert [ask() for _ in range(4)] == [True, True, False, False]
    clock.now += 30
    assert [ask(), ask()] == [True, False]
    clock.now += 1e6
    assert [ask() for _ in range(3)] == [True, True, False], "what is saved up is bounded"
    assert {error.status for error in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all("2 a minute; the next one in" in error.line for error in refusals)


def test_calls_at_once_are_counted_for_each_client() -> None:
    gate = Gate(Limits(calls=4, calls_per_client=2))
    shop, blog, other = key_of("shop", "x"), key_of("blog", "y"), key_of("other", "z")
    with gate.place(shop), gate.place(shop):
        with pytest.raises(Refused, match="2 of this client are under way"), gate.place(shop):
            pass
        words = r"as many calls as the server takes.*; accepted: the same request later"
        with gate.place(blog), gate.place(blog), pytest.raises(Refused, match=words), gate.place(other):
            pass
    with gate.place(shop), gate.place(other):
        pass


def test_requests_under_way_are_counted() -> None:
    gate = Gate(Limits())
    gate.serving = True
    with gate.call(key_of("shop", "x")), gate.call(key_of("blog", "y")):
        assert gate.inside == 2
    assert gate.inside == 0


@pytest.mark.parametrize(("serving", "closing", "words"), [(False, False, "starting"), (True, True, "shutting down")])
def test_nobody_comes_in_then(serving: bool, closing: bool, words: str) -> None:
    gate = Gate(Limits())
    gate.serving, gate.closing = serving, closing
    with pytest.raises(Refused, match=words) as caught, gate.call(LOCAL):
        pass
    assert caught.value.status is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback_is_safe(host: str) -> None:
    require_safe(host, has_keys=False, has_tls=False, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_beyond_loopback_needs_keys_and_tls_or_the_word(host: str) -> None:
    for given, tls, missing in (
        (False, False, "--keys and --tls-cert"),
        (True, False, "--tls"),
        (False, True, "--key"),
    ):
        with pytest.raises(LaunchError, match=missing):
            require_safe(host, has_keys=given, has_tls=tls, insecure=False)
    require_safe(host, has_keys=True, has_tls=True, insecure=False)
    require_safe(host, has_keys=False, has_tls=False, insecure=True)


def test_the_config_crosses_in_one_line() -> None:
    config = FrontConfig(Private("/x/s", "secret"), "seal", tls=TLSFiles("c", "k"), keys="f", limits=Limits(calls=3))
    assert FrontConfig.from_json(config.to_json()) == config
    assert "\n" not in config.to_json()


def test_a_folder_that_is_too_deep_for_a_socket_is_named() -> None:
    with pytest.raises(LaunchError, match="TMPDIR"):
        Private.in_folder(Path("/tmp") / ("x" * 120))
    assert Private.in_folder(Path("/tmp/x")).address == "unix:/tmp/x/triton:1"


def test_the_command_adds_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    keys(Action.ADD, path, client="shop", concept=["acme-*"], requests_per_minute=5)
    shop = capsys.readouterr().out.strip()
    keys(Action.ADD, path, client="blog", tenant="acme")
    found = KeyFile(path).find(shop)
    assert found is not None
    assert (found.client, found.tenant, found.concepts, found.requests_per_minute) == ("shop", "shop", ("acme-*",), 5)
    capsys.readouterr()
    keys(Action.LIST, path)
    listed = capsys.readouterr().out
    assert "shop" in listed
    assert shop not in listed
    keys(Action.REVOKE, path, client="shop")
    assert [key.client for key in read_keys(path)] == ["blog"]


@pytest.mark.parametrize(
    ("options", "field"),
    [({"client": ""}, "client"), ({"client": "A b"}, "client"), ({"client": "a", "concept": ["../x"]}, "concepts")],
)  # fmt: skip
def test_the_command_refuses_what_the_file_cannot_hold(tmp_path: Path, options: dict[str, Any], field: str) -> None:
    with pytest.raises(LaunchError, match=f"^{field}: "):
        keys(Action.ADD, tmp_path / "keys.json", **options)
    assert not (tmp_path / "keys.json").exists()
    write_keys(tmp_path / "keys.json", [])
    with pytest.raises(LaunchError, match="client: "):
        keys(Action.REVOKE, tmp_path / "keys.json", client="nobody")


def test_keys_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.json"
    keys(Action.ADD, path, client="app", users=True, as_json=True)
    added = json.loads(capsys.readouterr().out)
    assert hashed(added.pop("key")).startswith(added["sha256"])
    keys(Action.LIST, path, as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed == added
    assert (listed["client"], listed["users"], len(listed["sha256"])) == ("app", True, 8)
