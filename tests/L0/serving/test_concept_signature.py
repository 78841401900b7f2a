from __future__ import annotations

from pathlib import Path

import pytest
from concept_room import Shelf, folder_view, shelf_view
from fake_runners import GRAPHSET

from serving.concepts.opening import open_registry
from serving.concepts.signature import SignaturePolicy, open_policy
from serving.config import ServingConfig
from serving.errors import ConceptRefused, LaunchError
from tests.helpers.concepts import make_concept
from tests.helpers.package_keys import PackageKey
from vico.concept import read_package

pytest.importorskip("model_signing")


@pytest.fixture
def key(tmp_path: Path) -> PackageKey:
    return PackageKey(tmp_path, "trusted")


def test_only_what_the_key_signed_is_served(tmp_path: Path, key: PackageKey) -> None:
    view = folder_view(tmp_path, signatures=SignaturePolicy(key.public))
    registry = tmp_path / "registry"
    package = make_concept(registry, "toy")
    with pytest.raises(ConceptRefused, match="'toy': it is not signed"):
        view.digest("toy")
    PackageKey(tmp_path, "other").sign(package)
    with pytest.raises(ConceptRefused, match="'toy': its signature is not of the trusted key"):
        view.digest("toy")
    signature = key.sign(package)
    assert view.digest("toy") == read_package(package).digest
    whole = signature.read_bytes()
    for bad in (b"", b"{}", b"\xff\x00", whole[:-20], whole.replace(b'"sig":"M', b'"sig":"N')):
        signature.write_bytes(bad)
        assert view.codes("toy") == ["concept_stale"], bad[:20]
    signature.write_bytes(whole)
    assert view.codes("toy") == []
    signature.unlink()
    assert view.codes("toy") == ["concept_stale"]


def test_a_signature_is_of_one_content_under_one_id(tmp_path: Path, key: PackageKey) -> None:
    view = folder_view(tmp_path, signatures=SignaturePolicy(key.public))
    registry = tmp_path / "registry"
    signature = key.sign(make_concept(registry, "toy", seed=1))
    good = (registry / "toy.safetensors").read_bytes()
    make_concept(registry, "toy", seed=2)
    with pytest.raises(ConceptRefused, match="not of the trusted key"):
        view.digest("toy")
    (registry / "toy.safetensors").write_bytes(good)
    (registry / "cat.safetensors").write_bytes(good)
    (registry / "cat.safetensors.sig").write_bytes(signature.read_bytes())
    assert view.digest("toy")
    with pytest.raises(ConceptRefused, match="'cat': it was signed under another id"):
        view.digest("cat")


def test_a_kept_version_keeps_its_signature(tmp_path: Path, key: PackageKey) -> None:
    view = folder_view(tmp_path, signatures=SignaturePolicy(key.public))
    package = make_concept(tmp_path / "registry", "toy", seed=1)
    key.sign(package)
    first = view.digest("toy")
    view.admin.alias("prod", "toy")
    assert view.admin.describe("toy").signed
    make_concept(tmp_path / "registry", "toy", seed=2)
    again = folder_view(tmp_path, signatures=SignaturePolicy(key.public))
    assert again.digest("prod") == first
    [kept] = (tmp_path / "registry" / ".vico" / "versions").glob("*.sig")
    kept.write_bytes(b"{}")
    for copy in again.folder.glob("*.safetensors"):
        copy.unlink()
    with pytest.raises(ConceptRefused):
        again.digest("prod")


def test_signatures_in_an_object_store(tmp_path: Path, key: PackageKey) -> None:
    shelf = Shelf(tmp_path)
    digest = shelf.add("toy")
    view = shelf_view(shelf, tmp_path / "store", signatures=SignaturePolicy(key.public))
    view.look()
    with pytest.raises(ConceptRefused, match="it is not signed"):
        view.digest("toy")
    shelf.put("toy.safetensors.sig", key.sign(tmp_path / "toy.safetensors").read_bytes())
    view.look()
    assert view.digest("toy") == digest


def test_a_key_is_checked_before_the_server_starts(tmp_path: Path, key: PackageKey) -> None:
    assert open_policy(None) is None
    assert open_policy(key.public) == SignaturePolicy(key.public)
    (tmp_path / "nonsense").write_bytes(b"no key")
    for wrong in (tmp_path / "nonsense", tmp_path / "absent"):
        with pytest.raises(LaunchError, match="require-signature: not a public key"):
            open_policy(wrong)
    config = ServingConfig(tmp_path, tmp_path, tmp_path / "store", signature_key=tmp_path / "nonsense")
    with pytest.raises(LaunchError):
        open_registry(config, GRAPHSET)
