"""One graph of a base: exported once, then derived for a target; what is up to date stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from export.cases import cases
from export.check import FLOAT, HALF, Tolerance, check_graph
from export.inputs import EXAMPLE_SIZES, random_feed
from export.keys import ExportOptions, target_digest
from export.onnx_export import export_graph
from export.records import GraphRecord, GraphResult, read_record, write_record
from export.signatures import Geometry, Signature
from export.store import MODEL_FILE, GraphStore
from export.targets.forms import files_of, shares_weights, write_form
from vico.concept.graphset import GraphName, TargetName

# no kernels for bfloat16 in ONNX Runtime's CPU: that form is held against the rules only, and not run on a GPU yet
_CHECKED: Mapping[TargetName, Tolerance] = {"onnx": FLOAT, "onnx-fp16": HALF}


@dataclass(frozen=True)
class Job:
    """One graph on its way."""

    module: nn.Module
    signature: Signature
    geometry: Geometry
    digest: str


@dataclass(frozen=True)
class Maker:
    """Brings one graph up to date in the store."""

    store: GraphStore
    job: Job
    options: ExportOptions
    announce: Callable[[GraphName, str], None]
    check: bool

    @property
    def name(self) -> GraphName:
        """Which graph."""
        return self.job.signature.name

    def export(self) -> Path:
        """The exported graph's file; made if it is not there."""
        if not self.store.contains(self.name, self.job.digest):
            with self.store.staging(self.name, self.job.digest) as staging:
                self.announce(self.name, "exporting")
                self._export(staging)
        return self.store.folder(self.name, self.job.digest) / MODEL_FILE

    def bring_up(self, target: TargetName) -> GraphResult:
        """The graph as `target` runs it, made if it is not there, and checked if it was not.

        Raises:
            ParityError: it does not compute what torch computes; then it does not get its name.
        """
        digest = target_digest(self.job.digest, target)
        model = self._place(target, digest)
        if model.is_file():
            return self._kept(model)
        # checked before it gets its name: what is in the store is right
        with self._staging(target, digest) as temporary:
            result = self._derived(target, digest, temporary)
            write_record(temporary, result.record)
        return replace(result, model=model)

    def check_packed(self, model: Path) -> None:
        """Hold the graph in the file `model`, packed for this processor, against torch.

        Raises:
            ParityError: it does not compute what torch computes.
        """
        if self.check:
            self.announce(self.name, "checking the packed")
            asked = cases(self.job.module, self.job.signature, self.job.geometry)
            check_graph(model, self.job.signature, asked, FLOAT, packed=True)

    def _place(self, target: TargetName, digest: str) -> Path:
        if shares_weights(target):
            return self.store.beside(self.name, self.job.digest, digest)
        return self.store.folder(self.name, digest) / MODEL_FILE

    @contextmanager
    def _staging(self, target: TargetName, digest: str) -> Iterator[Path]:
        """A file to write the form into."""
        if shares_weights(target):
            with self.store.staging_beside(self.name, self.job.digest, digest) as temporary:
                yield temporary
        else:
            with self.store.staging(self.name, digest) as folder:
                yield folder / MODEL_FILE

    def _derived(self, target: TargetName, digest: str, model: Path) -> GraphResult:
        start, exported = time.perf_counter(), self.export()
        self.announce(self.name, f"deriving for {target}")
        facts = write_form(exported, model, self.job.signature, target)
        record = GraphRecord(
            name=self.name,
            digest=digest,
            nodes=facts.nodes,
            attention_nodes=facts.attention_nodes,
            size_bytes=sum(path.stat().st_size for path in files_of(model)),
            export_seconds=round(time.perf_counter() - start, 2),
            target=target,
        )
        return self._checked(GraphResult(record, model, is_new=True))

    def _kept(self, model: Path) -> GraphResult:
        before = GraphResult(read_record(model), model, is_new=False)
        if before.record.max_error is not None:
            return before
        result = self._checked(before)
        write_record(model, result.record)
        return result

    def _checked(self, result: GraphResult) -> GraphResult:
        tolerance = _CHECKED.get(result.record.target)
        if not self.check or tolerance is None:
            return result
        self.announce(self.name, "checking")
        asked = cases(self.job.module, self.job.signature, self.job.geometry)
        deviations = check_graph(result.model, self.job.signature, asked, tolerance)
        record = replace(result.record, max_error=max(deviation.error for deviation in deviations))
        return replace(result, record=record, deviations=deviations)

    def _export(self, folder: Path) -> None:
        example = random_feed(self.job.signature, self.job.geometry, EXAMPLE_SIZES)
        export_graph(self.job.module, self.job.signature, tuple(example.values()), folder, self.options)
