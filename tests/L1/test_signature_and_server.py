"""`--require-signature` on the real server: what the key did not sign is served by no name, on no way, nor held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from leaks import LEAKS
from served import Served, start_server, wait_until
from ways import TO_PICTURES, TO_THE_LIST, Outcome, Way, outcome_on

from serving.admin.client import Remote
from tests.helpers.package_keys import PackageKey
from vico.concept import read_package

if TYPE_CHECKING:
    from conftest import Exported

pytest.importorskip("model_signing", reason="the library is not installed: pip install 'vico[signing]'")

SECRET = "the-operators-own-secret"
REFUSED = {
    "unsigned": "it is not signed",
    "foreign": "its signature is not of the trusted key",
    "swapped": "its signature is not of the trusted key",
    "renamed": "it was signed under another id",
}
GOOD = "good"
WAIT = 60.0


@dataclass(frozen=True)
class Signed:
    """The server, its operator, and what every name of the registry truly stands for."""

    served: Served
    exported: Exported
    key: PackageKey
    admin: Remote
    digests: dict[str, str]

    def ask(self, way: Way, concept: str) -> Outcome:
        with grpc.insecure_channel(self.served.address) as channel:
            return outcome_on(way, channel, prompt="a * toy", concept=concept, steps=1)

    def names(self, concept: str) -> list[str]:
        """All that a client may call it."""
        version = f"@{self.digests[concept]}"
        return [concept, concept + version, f"{concept}-prod", f"{concept}-prod{version}"]

    def store(self) -> set[str]:
        """Digests of the packages that the server has taken into its own folder."""
        [folder] = self.served.folders()
        return {path.stem for path in (folder / "concepts").glob("*.safetensors")}


@pytest.fixture(scope="module")
def signed(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    registry, secret = folder / "registry", folder / "secret"
    registry.mkdir()
    secret.write_text(SECRET)
    secret.chmod(0o600)
    key = PackageKey(folder, "trusted")
    digests = write_concepts(exported, registry, key, PackageKey(folder, "other"))
    options = ("--require-signature", str(key.public), "--admin-secret-file", str(secret), "--admin-port", "0")
    served = start_server(exported.folder, registry, folder / "log", "--registry-seconds", "0.2", *options)
    admin = Remote(served.admin, SECRET)
    for concept in digests:
        admin("Alias", name=f"{concept}-prod", target=concept)
    yield Signed(served, exported, key, admin, digests)
    assert served.stop() == 0, served.log()


def write_concepts(exported: Exported, registry: Path, key: PackageKey, other: PackageKey) -> dict[str, str]:
    """One that is in order, and of every kind that is not; returns their digests."""
    paths = {name: exported.make_concept(registry, name, seed=seed) for seed, name in enumerate((*REFUSED, GOOD))}
    signature = key.sign(paths[GOOD])
    other.sign(paths["foreign"])
    shutil.copy(signature, registry / "swapped.safetensors.sig")
    stranger = exported.make_concept(registry, "stranger", seed=9)
    key.sign(stranger).rename(registry / "renamed.safetensors.sig")
    stranger.rename(paths["renamed"])
    return {name: read_package(path).digest for name, path in paths.items()}


@pytest.mark.parametrize("way", TO_PICTURES, ids=str)
def test_what_the_key_did_not_sign_is_refused_by_every_name(signed: Signed, way: Way) -> None:
    for concept, words in REFUSED.items():
        for name in signed.names(concept):
            outcome = signed.ask(way, name)
            assert (outcome.status, words in outcome.words) == ("INVALID_ARGUMENT", True), (name, outcome)
            assert not outcome.tensors
            assert not LEAKS.search(outcome.words)


@pytest.mark.parametrize("way", TO_PICTURES, ids=str)
def test_what_it_signed_is_served_by_all_of_them(signed: Signed, way: Way) -> None:
    for name in signed.names(GOOD):
        outcome = signed.ask(way, name)
        assert outcome.status == "OK", (name, outcome)
        assert outcome.info()["concept"].endswith(f"@{signed.digests[GOOD]}")
        assert len(outcome.tensors["images"]) == 1


@pytest.mark.parametrize("way", TO_THE_LIST, ids=str)
def test_no_version_is_listed_of_what_it_did_not_sign(signed: Signed, way: Way) -> None:
    signed.ask(TO_PICTURES[0], GOOD)
    with grpc.insecure_channel(signed.served.address) as channel:
        listed = outcome_on(way, channel, pattern="*").concepts()
    assert {name: version for name, version in listed.items() if not name.endswith("-prod")} == dict.fromkeys(
        REFUSED, ""
    ) | {GOOD: f"{GOOD}@{signed.digests[GOOD]}"}


def test_what_it_did_not_sign_is_never_held_whatever_the_operator_wishes(signed: Signed) -> None:
    for concept in REFUSED:
        for name in signed.names(concept)[:3]:
            signed.admin("Prefetch", name=name)
            signed.admin("Pin", name=name)
    path = signed.exported.make_concept(signed.served.registry, "awaited", seed=30)
    signed.key.sign(path)
    signed.admin("Pin", name="awaited")

    def held(concept: str) -> bool:
        return any(place["host"] or place["slot"] for place in signed.admin("Describe", name=concept)["residence"])

    # nobody asks for it, and wishes are followed together: when it is held, the others have been looked at
    assert wait_until(lambda: held("awaited"), WAIT)
    for concept, words in REFUSED.items():
        assert not held(concept)
        assert words in signed.admin("Describe", name=concept)["error"]
        assert words in signed.ask(TO_PICTURES[0], concept).words
    assert not signed.store() & {signed.digests[concept] for concept in REFUSED}
    assert read_package(path).digest in signed.store(), "the test means something"


def test_an_unsigned_successor_takes_nobodys_place(signed: Signed) -> None:
    """The version before it is served, and the successor by no name; once it is signed it is."""
    registry = signed.served.registry
    first = read_package(path := signed.exported.make_concept(registry, "grown", seed=20)).digest
    signed.key.sign(path)
    assert signed.ask(TO_PICTURES[0], "grown").info()["concept"] == f"grown@{first}"
    second = read_package(signed.exported.make_concept(registry, "grown", seed=21)).digest
    for way in TO_PICTURES:
        outcome = signed.ask(way, "grown")
        assert outcome.info()["concept"] == f"grown@{first}"
        assert [warning["code"] for warning in outcome.info()["warnings"]] == ["concept_stale"]
        assert signed.ask(way, f"grown@{second}").status == "INVALID_ARGUMENT"
    assert second not in signed.store()
    signed.key.sign(path)
    assert signed.ask(TO_PICTURES[0], "grown").info()["concept"] == f"grown@{second}"
