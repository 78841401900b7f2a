"""The concept package: what is written is what is read, and nothing torn or altered gets through."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.concepts import BASE_DIGEST, SITES, make_concept, make_manifest, make_tensors
from vico.concept import BLOCK_TENSORS, Manifest, read_package, validate_concept_id, write_package
from vico.concept.package import read_manifest
from vico.errors import ConceptError


def test_round_trip(tmp_path: Path) -> None:
    tensors = make_tensors(dtype="float16")
    manifest = replace(make_manifest(), preview_png=b"\x89PNG\x00", recipe={"steps": 150}, licence="CC0")
    digest = write_package(tmp_path / "toy.safetensors", manifest, tensors)
    package = read_package(tmp_path / "toy.safetensors")
    assert package.digest == digest == read_manifest(tmp_path / "toy.safetensors")[1]
    assert package.manifest.preview_png == b"\x89PNG\x00"
    assert package.manifest.recipe == {"steps": 150}
    assert package.tensors.keys() == tensors.keys()
    assert all(np.array_equal(package.tensors[name], tensors[name]) for name in tensors)
    assert package.token_embedding.shape == (1, 6)
    assert package.references.shape == (1, 4, 4, 4)
    assert tuple(package.image_attention(SITES[0].name)) == BLOCK_TENSORS
    assert package.size_bytes == sum(tensor.nbytes for tensor in tensors.values())


def test_digest_is_of_the_content_not_of_the_path_or_order(tmp_path: Path) -> None:
    tensors = make_tensors()
    one = write_package(tmp_path / "one.safetensors", make_manifest(), tensors)
    two = write_package(tmp_path / "two.safetensors", make_manifest(), dict(reversed(tensors.items())))
    tensors["token_embedding"][0, 0] += 1
    three = write_package(tmp_path / "three.safetensors", make_manifest(), tensors)
    assert one == two != three


@given(data=st.data(), mapped=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_altered_byte_is_refused(tmp_path: Path, data: st.DataObject, mapped: bool) -> None:
    content = bytearray(make_concept(tmp_path).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    altered = tmp_path / "altered.safetensors"
    altered.write_bytes(content)
    with pytest.raises(ConceptError) as caught:
        read_package(altered, mapped=mapped)
    assert caught.value.field == "concept"
    assert str(tmp_path) not in str(caught.value)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_truncation_is_refused(tmp_path: Path, share: float) -> None:
    content = make_concept(tmp_path).read_bytes()
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConceptError):
        read_package(torn)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("references"), "references"),
        (
            lambda t: t.pop("image_attention.up_blocks.1.attentions.0.attn2.to_q.weight"),
            "up_blocks.1.attentions.0.attn2",
        ),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "extra"),
        (lambda t: t.update(token_embedding=np.zeros((1, 6), np.float64)), "float64"),
        (lambda t: t.update(token_embedding=np.zeros(6, np.float32)), "token_embedding"),
        (lambda t: t.update(references=np.zeros((1, 3, 4, 4), np.float32)), "any x 4 x any x any"),
        (lambda t: t.update(references=np.full((1, 4, 4, 4), np.nan, np.float32)), "NaN"),
    ],
)
def test_wrong_tensors_are_refused_by_name(tmp_path: Path, change: object, named: str) -> None:
    tensors = make_tensors()
    change(tensors)  # type: ignore[operator]
    with pytest.raises(ConceptError, match=named):
        write_package(tmp_path / "toy.safetensors", make_manifest(), tensors)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_concept(tmp_path)
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        make_concept(tmp_path, seed=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


OLD_DIGEST = "040079b41293e70eb5313a19eb8e834dece9faac80e029d739c9c04da36df7f4"


def test_packages_older_than_the_reference_context_keep_their_digest(tmp_path: Path) -> None:
    old = make_manifest().to_json()
    assert "reference_context" not in old
    assert "negative_image_guidance" not in old
    assert Manifest.from_json(old).reference_context == "prompt"
    assert Manifest.from_json(old).to_json() == old
    # what the manifest's text hashed to before the field was there
    assert hashlib.sha256(old.encode()).hexdigest() == OLD_DIGEST


def test_the_reference_context_is_part_of_the_concept(tmp_path: Path) -> None:
    digests = {}
    for context in ("prompt", "concept"):
        path = make_concept(tmp_path, context, reference_context=context)
        package = read_package(path)
        assert package.manifest.reference_context == context
        digests[context] = write_package(tmp_path / "a", replace(package.manifest, id="a", tensors={}), package.tensors)
    assert digests["prompt"] != digests["concept"]
    text = make_manifest().to_json()[:-1] + ',"reference_context":"mine"}'
    with pytest.raises(ConceptError, match="'reference_context' is wrong"):
        Manifest.from_json(text)


def test_the_negative_half_is_part_of_the_concept(tmp_path: Path) -> None:
    package = read_package(make_concept(tmp_path, negative_image_guidance=0.0))
    assert package.manifest.negative_image_guidance == 0
    assert package.digest != read_package(make_concept(tmp_path)).digest
    with pytest.raises(ConceptError, match="'negative_image_guidance' is wrong"):
        Manifest.from_json(make_manifest().to_json()[:-1] + ',"negative_image_guidance":1.5}')


def test_another_base_is_refused(tmp_path: Path) -> None:
    package = read_package(make_concept(tmp_path))
    package.require_base(BASE_DIGEST)
    with pytest.raises(ConceptError, match="another base"):
        package.require_base("cd" * 32)


def test_a_plain_safetensors_file_is_no_concept(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "plain.safetensors")
    with pytest.raises(ConceptError, match="no concept manifest"):
        read_package(tmp_path / "plain.safetensors")


@pytest.mark.parametrize("good", ["a", "my-toy", "0.9_x", "a" * 64])
def test_good_ids(good: str) -> None:
    assert validate_concept_id(good) == good


@pytest.mark.parametrize("bad", ["", ".hidden", "A", "a/b", "../a", "a" * 65, "a\n", "ä", "-a", "a b"])
def test_bad_ids(bad: str) -> None:
    with pytest.raises(ConceptError, match="malformed id"):
        validate_concept_id(bad)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_numbers_whose_sum_is_too_great_are_finite_all_the_same(tmp_path: Path, dtype: str) -> None:
    tensors = make_tensors(dtype=dtype)
    tensors["references"][:] = np.finfo(dtype).max
    write_package(tmp_path / "great.safetensors", make_manifest(), tensors)
    assert np.array_equal(read_package(tmp_path / "great.safetensors").references, tensors["references"])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_mapped_is_what_is_read(tmp_path: Path, dtype: str) -> None:
    tensors = make_tensors(dtype=dtype)
    path = tmp_path / "toy.safetensors"
    digest = write_package(path, make_manifest(), tensors)
    before = path.read_bytes()
    package = read_package(path, mapped=True)
    path.unlink()
    assert package.digest == digest
    for name, tensor in tensors.items():
        assert package.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(package.tensors[name], tensor)
    path.write_bytes(before)
    again = read_package(path, mapped=True)
    again.tensors["token_embedding"][:] = 0
    assert path.read_bytes() == before, "what is written to is this process's own"
