"""A server's own copy of its graph set: what is written to the operator's folder later is not served.

What is small is copied: models, tokenizer, description. Graphs and weights are content-addressed files of gigabytes:
they are linked, so that a file which is replaced or removed stays as it was; one that is written to in place
is noticed when a stage opens it, and refused.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import GraphError
from serving.targets import graph_file
from vico.concept import read_graphset
from vico.concept.graphset import GRAPHSET_FILE

_MARKS = "frozen.json"
_SMALL = (GRAPHSET_FILE, "tokenizer.json")


def freeze(config: ServingConfig, folder: Path) -> ServingConfig:
    """The config with `folder`, which is made, in the place of its graph set. Both are absolute.

    Raises:
        GraphSetError, GraphError: the graph set is malformed, or has no graphs for the device.
    """
    folder.mkdir()
    for name in _SMALL:
        shutil.copyfile(config.graphs / name, folder / name)
    shutil.copytree(config.graphs / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    # else the stages write their bytecode as they start, which to Triton is a change of every model: reloading one
    # would reload them all, the loop with its pictures among them
    compileall.compile_dir(folder / "models", quiet=2)
    graphset = read_graphset(folder)
    for place in sorted({graph_file(config, graphset, name).parent for name in graphset.graphs}):
        _link(place, folder / place.relative_to(config.graphs))
    marks = {str(path.relative_to(folder)): _mark(path) for path in _graph_files(folder)}
    (folder / _MARKS).write_text(json.dumps(marks))
    return replace(config, graphs=folder)


def require_unchanged(graphs: Path, file: Path) -> None:
    """Refuse a graph of a frozen set that was written to since, or one of the files beside it; others pass.

    Raises:
        GraphError: it is not what the server began with.
    """
    try:
        marks: dict[str, list[int]] = json.loads((graphs / _MARKS).read_text())
    except FileNotFoundError:  # a stage without a launcher, as in tests
        return
    beside = str(file.parent.relative_to(graphs))
    for name, mark in marks.items():
        if str(Path(name).parent) == beside and _mark(graphs / name) != mark:
            raise GraphError("graphs", "a graph was written to since the server began", "a new start of the server")


def _link(place: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(place, target, copy_function=os.link)
    except (OSError, shutil.Error):  # another disk, or files of another user
        shutil.rmtree(target, ignore_errors=True)
        target.symlink_to(place.resolve())


def _graph_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, _, files in os.walk(folder / "graphs", followlinks=True):
        found += [Path(root) / file for file in files]
    return sorted(found)


def _mark(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
