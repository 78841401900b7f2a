"""What a graph is made from, as one digest: equal digests mean equal graphs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from vico.concept.graphset import GraphName, TargetName

_LIBRARIES = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnx-ir")
_ROOT = Path(__file__).parents[1]
_GRAPH_CODE = ("export/onnx_export.py", "export/modules.py", "export/signatures.py", "export/inputs.py")
_REWRITING = ("forms", "flash_attention", "group_norm", "half", "late_gathers", "static_shapes")
_TARGET_CODE = ("export/facts.py", *(f"export/targets/{name}.py" for name in _REWRITING))
_TARGET_LIBRARIES = ("onnx", "onnx-ir", "ml-dtypes")
_WALK = ("vico/streams.py", "vico/unet.py", "vico/sites.py")
# our own code that a graph's nodes come from; everything else may change without changing the graph
_SOURCES: Mapping[GraphName, tuple[str, ...]] = {
    "text_encoder": ("vico/text.py",),
    "vae_encoder": (),
    "reference_encoder": (*_WALK, "vico/attention.py", "vico/mask.py"),
    "denoiser": (*_WALK, "vico/image_attention.py", "vico/concept/layout.py"),
    "vae_decoder": (),
}


@dataclass(frozen=True)
class ExportOptions:
    """Choices that change the graphs."""

    opset: int = 23


def graph_digest(base_digest: str, name: GraphName, options: ExportOptions) -> str:
    """SHA-256 over the base, the graph's name, the options, the libraries' versions and our own code, 64 hex digits."""
    made_from = {
        "base": base_digest,
        "graph": name,
        "options": asdict(options),
        "libraries": {library: version(library) for library in _LIBRARIES},
        "source": source_digest(name),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def target_digest(exported_digest: str, target: TargetName) -> str:
    """SHA-256 over an exported graph's digest, the target, and the code and libraries that rewrite it."""
    made_from = {
        "exported": exported_digest,
        "target": target,
        "libraries": {library: version(library) for library in _TARGET_LIBRARIES},
        "source": _files_digest(tuple(sorted(_ROOT / file for file in _TARGET_CODE))),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


@cache
def source_digest(name: GraphName) -> str:
    """SHA-256 over names and contents of the source files of a graph, as they were when first asked for."""
    return _files_digest(tuple(source_files(name)))


@cache
def _files_digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def source_files(name: GraphName) -> list[Path]:
    """Our own source files that the nodes of a graph come from, sorted."""
    return sorted(_ROOT / file for file in (*_GRAPH_CODE, *_SOURCES[name]))
