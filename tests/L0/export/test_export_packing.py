"""Graphs packed for this processor: the same numbers to the bit, weights once, and refused or left out elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.check import open_session
from export.errors import GraphError
from export.inputs import EXAMPLE_SIZES, random_feed
from export.packing import WEIGHTS_FILE, _moved_packing, pack_graphs, packed_digest
from export.signatures import GRAPH_NAMES
from export.store import GraphStore
from serving.config import ServingConfig
from serving.errors import GraphError as ServedGraphError
from serving.frozen import freeze, require_unchanged
from serving.runner import open_runner
from serving.targets import graph_file
from tests.helpers.tiny_graphs import ExportedBase, run_graph
from vico.concept import write_graphset
from vico.concept.graphset import GraphName
from vico.concept.processor import processor_key


def _packed(exported: ExportedBase, name: GraphName) -> Path:
    return exported.folder / exported.graphset.packed[processor_key()][name].file


def _regions(model: Path) -> Iterator[tuple[str, int, int]]:
    """Every piece of the weights' file that a graph reads."""
    for tensor in onnx.load(model, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            yield entries["location"], int(entries["offset"]), int(entries["length"])
        for key, value in entries.items():
            if key.startswith("prepacked_"):
                for blob in filter(None, value.split("|")[1:]):
                    offset, length, _ = blob.split(";")
                    yield entries["location"], int(offset), int(length)


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_packed_is_equal_to_the_bit(exported: ExportedBase, name: GraphName) -> None:
    feed = random_feed(exported.signature(name), exported.geometry, EXAMPLE_SIZES)
    packed = run_graph(open_session(_packed(exported, name), packed=True), feed)
    for ours, theirs in zip(packed, run_graph(exported.session(name), feed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_two_graphs_share_is_there_once(exported: ExportedBase) -> None:
    """The reference encoder is the denoiser's U-Net, cut after its last site."""
    sizes = {}
    for name in GRAPH_NAMES:
        regions = set(_regions(_packed(exported, name)))
        assert {location for location, _, _ in regions} <= {WEIGHTS_FILE}
        sizes[name] = regions
    both = sizes["denoiser"] & sizes["reference_encoder"]
    share = sum(length for _, _, length in both) / sum(length for _, _, length in sizes["reference_encoder"])
    assert share > 0.95
    everything = set().union(*sizes.values())
    file = _packed(exported, "denoiser").with_name(WEIGHTS_FILE)
    least, padding = sum(length for _, _, length in everything), 4096 * len(everything)
    assert least <= file.stat().st_size <= least + padding, "nothing is there twice"
    for _, offset, length in everything:
        assert offset % (4096 if length >= 4096 else 64) == 0, "each on pages or lines of its own"


def test_a_server_opens_what_was_packed_for_its_processor(exported: ExportedBase, tmp_path: Path) -> None:
    config = ServingConfig(graphs=exported.folder, registry=tmp_path)
    assert graph_file(config, exported.graphset, "denoiser") == _packed(exported, "denoiser")
    feed = random_feed(exported.signature("vae_decoder"), exported.geometry, EXAMPLE_SIZES)
    results = open_runner(config, exported.graphset, "vae_decoder").run({n: t.numpy() for n, t in feed.items()})
    (expected,) = run_graph(exported.session("vae_decoder"), feed)
    np.testing.assert_array_equal(results["image"], expected)


def test_another_processor_takes_the_form_that_fits_all(exported: ExportedBase, tmp_path: Path) -> None:
    config = ServingConfig(graphs=exported.folder, registry=tmp_path)
    elsewhere = replace(exported.graphset, packed={"onnxruntime-0-pdp11": exported.graphset.packed[processor_key()]})
    assert graph_file(config, elsewhere, "denoiser") == exported.form("denoiser")


def test_no_gpu_takes_it(exported: ExportedBase, tmp_path: Path) -> None:
    config = ServingConfig(graphs=exported.folder, registry=tmp_path, provider="cuda")
    with pytest.raises(ServedGraphError, match="absent"):
        graph_file(config, exported.graphset, "denoiser")


def test_a_frozen_set_holds_it_and_notices_writing(exported: ExportedBase, tmp_path: Path) -> None:
    copy = tmp_path / "graphs"
    for file in exported.folder.rglob("*"):
        target = copy / file.relative_to(exported.folder)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    frozen = freeze(ServingConfig(graphs=copy, registry=tmp_path), tmp_path / "frozen")
    file = graph_file(frozen, exported.graphset, "denoiser")
    assert file.is_relative_to(frozen.graphs)
    assert "packed" in file.parts
    require_unchanged(frozen.graphs, file)
    with (copy / file.relative_to(frozen.graphs)).with_name(WEIGHTS_FILE).open("r+b") as weights:
        weights.write(b"other")
    with pytest.raises(ServedGraphError, match="written to"):
        require_unchanged(frozen.graphs, file)


def _models(exported: ExportedBase) -> Mapping[GraphName, Path]:
    return {"text_encoder": exported.form("text_encoder")}


def _pass(name: GraphName, model: Path) -> None:
    assert model.is_file()


def test_it_is_packed_once(exported: ExportedBase, tmp_path: Path) -> None:
    store, told = GraphStore(tmp_path), []
    with store.lock():
        for _ in range(2):
            made = pack_graphs(store, _models(exported), "ab" * 32, lambda name, stage: told.append(stage), _pass)
    assert told == ["packing"]
    assert made == {"text_encoder": store.packed("ab" * 32) / "text_encoder.onnx"}
    assert sorted(path.name for path in store.packed("ab" * 32).iterdir()) == ["text_encoder.onnx", WEIGHTS_FILE]


def test_what_fails_its_check_gets_no_name(exported: ExportedBase, tmp_path: Path) -> None:
    def refuse(name: GraphName, model: Path) -> None:
        raise GraphError(name, "off", "on")

    store = GraphStore(tmp_path)
    with store.lock(), pytest.raises(GraphError, match="off"):
        pack_graphs(store, _models(exported), "ab" * 32, lambda name, stage: None, refuse)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_digest_is_of_graphs_and_processor(exported: ExportedBase) -> None:
    forms = exported.graphset.targets["onnx"]
    digests = {
        packed_digest(forms, "one"),
        packed_digest(forms, "other"),
        packed_digest({**forms, "denoiser": forms["vae_decoder"]}, "one"),
    }
    assert len(digests) == 3
    assert packed_digest(forms, "one") in digests


def test_a_form_of_entry_that_is_not_known_is_refused() -> None:
    with pytest.raises(GraphError, match="somewhere"):
        _moved_packing("denoiser", "MatMul+1|somewhere", None, None)  # type: ignore[arg-type]


def test_a_graph_set_from_before_packing_is_read(exported: ExportedBase, tmp_path: Path) -> None:
    path = write_graphset(tmp_path, exported.graphset)
    content = json.loads(path.read_text())
    del content["packed"]
    path.write_text(json.dumps(content))
    from vico.concept import read_graphset

    assert read_graphset(tmp_path) == replace(exported.graphset, packed={})
