"""The whole export: what is up to date stays, what changed is made again, a failure leaves the old set standing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from export import graphs, pipeline
from export.check import Deviation
from export.errors import ParityError
from export.facts import GraphFacts
from export.keys import ExportOptions
from export.pipeline import export_base
from export.preview import latent_to_rgb
from export.records import GraphResult
from export.signatures import GRAPH_NAMES
from export.store import GraphStore
from tests.helpers.tiny_base import make_tiny_base
from tests.helpers.tiny_graphs import ExportedBase
from vico.base import Base, load_base
from vico.concept import read_graphset
from vico.concept.graphset import GraphName, TargetName
from vico.concept.processor import processor_key

_DEVIATION = Deviation("", "one row", 1, 1e-6, 0.0, 1.0)
Run = Callable[..., tuple[GraphResult, ...]]


@dataclass
class Exporter:
    """Stands for the slow part: writes a word instead of a graph."""

    made: list[str]
    checked: list[str]
    derived: list[str]
    packed: list[str] = field(default_factory=list)
    fail_at: str = ""
    wrong: str = ""

    def export(self, module: Any, signature: Any, example: Any, folder: Path, options: ExportOptions) -> GraphFacts:
        (folder / "model.onnx").write_bytes(b"half")
        if signature.name == self.fail_at:
            raise OSError(28, "No space left on device")
        (folder / "model.onnx.data").write_bytes(b"weights")
        self.made.append(signature.name)
        return GraphFacts(nodes=1, attention_nodes=1)

    def derive(self, source: Path, model: Path, signature: Any, target: TargetName) -> GraphFacts:
        assert source.is_file()
        model.write_bytes(b"form")
        self.derived.append(f"{signature.name} {target}")
        return GraphFacts(nodes=1, attention_nodes=1)

    def pack(self, store: GraphStore, models: Mapping[GraphName, Path], digest: str, *told: Any) -> dict[str, Path]:
        assert all(model.read_bytes() == b"form" for model in models.values())
        if not store.packed(digest).is_dir():
            with store.staging_packed(digest) as folder:
                for name in models:
                    (folder / f"{name}.onnx").write_bytes(b"packed")
            self.packed.append(digest)
        return {name: store.packed(digest) / f"{name}.onnx" for name in models}

    def check(self, model: Path, signature: Any, cases: Any, tolerance: Any) -> tuple[Any, ...]:
        assert model.read_bytes() == b"form"
        if signature.name == self.wrong:
            raise ParityError(signature.name, "off", "on")
        self.checked.append(signature.name)
        return (replace(_DEVIATION, graph=signature.name),)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    fake = Exporter([], [], [])
    monkeypatch.setattr(graphs, "export_graph", fake.export)
    monkeypatch.setattr(graphs, "write_form", fake.derive)
    monkeypatch.setattr(graphs, "check_graph", fake.check)
    monkeypatch.setattr(pipeline, "pack_graphs", fake.pack)
    return fake


@pytest.fixture
def run(base: Base, tmp_path: Path) -> Run:
    def export(of: Base = base, *, check: bool = True, target: TargetName = "onnx") -> tuple[GraphResult, ...]:
        options = ExportOptions()
        return export_base(of, tmp_path, options, check=check, announce=lambda name, stage: None, target=target)

    return export


def test_the_layout_of_a_graph_set(base: Base, exported: ExportedBase) -> None:
    graphset = exported.graphset
    assert graphset.base_digest == base.digest
    assert set(graphset.graphs) == set(GRAPH_NAMES)
    for name, spec in graphset.graphs.items():
        assert spec.file == f"graphs/{name}/{spec.digest}/model.onnx"
        assert (exported.folder / spec.file).is_file()
    for name, spec in graphset.targets["onnx"].items():
        source = graphset.graphs[name]
        assert spec.file == f"graphs/{name}/{source.digest}/{spec.digest}.onnx", "beside the weights that they share"
        assert spec.digest != source.digest
        assert (exported.folder / spec.file).is_file()
    assert (graphset.context_width, graphset.vae_factor, graphset.size_multiple) == (32, 2, 4)
    assert (graphset.default_size, graphset.max_size) == (32, 64)
    assert [site.name for site in graphset.sites] == [site.name for site in base.sites]
    assert graphset.schedule == base.schedule
    assert (exported.folder / "tokenizer.json").is_file()
    assert (exported.folder / "models").is_dir()


def test_what_is_up_to_date_stays(exporter: Exporter, run: Run) -> None:
    assert all(result.is_new for result in run())
    assert exporter.made == exporter.checked == list(GRAPH_NAMES)
    again = run()
    assert exporter.made == exporter.checked == list(GRAPH_NAMES)
    assert not any(result.is_new or result.deviations for result in again)
    assert [result.record.max_error for result in again] == [1e-6] * 5


def test_a_changed_base_is_exported_beside_the_old_one(
    exporter: Exporter, run: Run, base: Base, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run()
    before = read_graphset(tmp_path)
    copy = tmp_path_factory.mktemp("changed") / "base"
    shutil.copytree(base.path, copy)
    config = json.loads((copy / "scheduler/scheduler_config.json").read_text())
    (copy / "scheduler/scheduler_config.json").write_text(json.dumps(config | {"beta_end": 0.013}))
    run(load_base(copy))
    after = read_graphset(tmp_path)
    assert len(exporter.made) == 10
    assert before.base_digest != after.base_digest
    for name in GRAPH_NAMES:
        assert before.graphs[name].digest != after.graphs[name].digest
        assert (tmp_path / before.graphs[name].file).is_file(), "a running server may still read it"


def test_where_a_base_lies_does_not_matter(
    exporter: Exporter, run: Run, base: Base, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run()
    run(load_base(make_tiny_base(tmp_path_factory.mktemp("elsewhere") / "base")))
    assert len(exporter.made) == 5


def test_a_full_disk_leaves_the_old_set(exporter: Exporter, run: Run, base: Base, tmp_path: Path) -> None:
    run()
    before = (tmp_path / "graphset.json").read_bytes()
    exporter.fail_at = "denoiser"
    changed = replace(base, schedule=replace(base.schedule, steps_offset=0))
    changed.__dict__["digest"] = "f" * 64
    with pytest.raises(OSError, match="No space left"):
        run(changed)
    assert (tmp_path / "graphset.json").read_bytes() == before
    assert not list((tmp_path / "graphs").glob(".staging-*"))
    exporter.fail_at = ""
    results = run(changed)
    made = {result.record.name for result in results if result.is_new}
    assert made == {"denoiser", "vae_decoder"}, "what was finished before the failure is kept"


def test_a_graph_that_is_wrong_never_gets_its_name(exporter: Exporter, run: Run, tmp_path: Path) -> None:
    exporter.wrong = "vae_encoder"
    with pytest.raises(ParityError, match="vae_encoder: off"):
        run()
    assert not (tmp_path / "graphset.json").exists()
    assert not list((tmp_path / "graphs/vae_encoder").glob("*/*[0-9a-f].onnx"))
    assert not list((tmp_path / "graphs").rglob(".staging-*"))
    exporter.wrong = ""
    assert [result.is_new for result in run()] == [False, True, True, True, True]
    assert exporter.made.count("vae_encoder") == 1, "what it is derived from is there"


def test_one_exported_graph_serves_every_target(exporter: Exporter, run: Run, tmp_path: Path) -> None:
    run()
    before = read_graphset(tmp_path)
    for target in ("onnx-fp16", "onnx-bf16"):
        assert all(result.is_new for result in run(target=target))
    assert exporter.made == list(GRAPH_NAMES), "exported once"
    assert len(exporter.derived) == 15
    after = read_graphset(tmp_path)
    assert after.graphs == before.graphs
    assert set(after.targets) == {"onnx", "onnx-fp16", "onnx-bf16"}
    assert after.targets["onnx"] == before.targets["onnx"]
    files = {spec.file for graphs in after.targets.values() for spec in graphs.values()}
    assert len(files) == 15
    assert all((tmp_path / file).is_file() for file in files)
    assert not any(result.is_new for result in run(target="onnx-fp16"))


def test_targets_of_another_base_are_forgotten(exporter: Exporter, run: Run, base: Base, tmp_path: Path) -> None:
    run(target="onnx-fp16")
    changed = replace(base, schedule=replace(base.schedule, steps_offset=0))
    changed.__dict__["digest"] = "f" * 64
    run(changed)
    assert set(read_graphset(tmp_path).targets) == {"onnx"}


def test_what_no_runtime_here_can_run_stays_unchecked(exporter: Exporter, run: Run) -> None:
    results = run(target="onnx-bf16")
    assert exporter.checked == []
    assert [result.record.max_error for result in results] == [None] * 5


def test_a_killed_derivation_is_cleared(exporter: Exporter, run: Run, tmp_path: Path) -> None:
    run()
    left = next((tmp_path / "graphs/denoiser").iterdir()) / ".staging-abc.onnx"
    left.write_bytes(b"half")
    run()
    assert not left.exists()


def test_unchecked_graphs_are_checked_later(exporter: Exporter, run: Run) -> None:
    assert [result.record.max_error for result in run(check=False)] == [None] * 5
    assert exporter.checked == []
    results = run()
    assert exporter.checked == list(GRAPH_NAMES) == exporter.made
    assert all(result.deviations and not result.is_new for result in results)
    run()
    assert len(exporter.checked) == 5


def test_the_preview_map_is_derived_once(
    exporter: Exporter, run: Run, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    found = read_graphset(tmp_path).latent_to_rgb
    assert found == latent_to_rgb(base)
    monkeypatch.setattr(pipeline, "latent_to_rgb", None)
    run(target="onnx-fp16")
    assert read_graphset(tmp_path).latent_to_rgb == found


def test_what_was_packed_elsewhere_stays_while_its_forms_do(
    exporter: Exporter, run: Run, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    here = read_graphset(tmp_path).packed[processor_key()]
    monkeypatch.setattr(pipeline, "processor_key", lambda: "another")
    run()
    packed = read_graphset(tmp_path).packed
    assert packed[processor_key()] == here
    assert {spec.digest for spec in packed["another"].values()}.isdisjoint(spec.digest for spec in here.values())
    assert len(exporter.packed) == 2
    run(target="onnx-fp16")
    assert read_graphset(tmp_path).packed == packed, "another target leaves it"
    monkeypatch.setattr(graphs, "target_digest", lambda exported, target: exported[::-1])
    run()
    assert set(read_graphset(tmp_path).packed) == {"another"}, "what was packed of other forms is not served"
