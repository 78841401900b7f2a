"""One graph: torch module → ONNX with opset-23 `Attention`, dynamic sizes, and its weights beside it.

Source: `torch.onnx.export` with dynamo (torch 2.13), which turns every `scaled_dot_product_attention` into one
`Attention` node.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from export.facts import GraphFacts, facts_of
from export.keys import ExportOptions
from export.signatures import BATCH, Axis, Shape, Signature
from export.store import MODEL_FILE

# diffusers' `Upsample2D` has a branch for batches of 64 and more (the same values in another memory layout); told
# beforehand, the tracer need not find it out by failing and tracing again. The graph runs with any batch.
_BATCH_TRACED = 63
_LAYER = "namespace"


def export_graph(
    module: nn.Module, signature: Signature, example: tuple[Tensor, ...], folder: Path, options: ExportOptions
) -> GraphFacts:
    """Write `model.onnx` and `model.onnx.data` of `module` into `folder`.

    Args:
        module: takes the tensors of the signature by position and returns a tuple of its outputs.
        signature: names and dynamic sizes.
        example: one tensor per input; dynamic sizes must not be 0 or 1, nor equal where the axes differ.
        folder: an existing folder.
        options: the opset.

    Raises:
        GraphError: the graph lost a fused attention, or inputs or outputs differ from the signature.
    """
    module.eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=options.opset,
            input_names=[value.name for value in signature.inputs],
            output_names=[value.name for value in signature.outputs],
            dynamic_shapes=_dynamic_shapes(signature),
            verbose=False,
        )
    assert program is not None
    assert program.exported_program is not None
    facts = facts_of(program.model.graph, signature, _count_attentions(program.exported_program))
    _forget_the_machine(program.model.graph)
    program.save(folder / MODEL_FILE, external_data=True)
    return facts


def _dynamic_shapes(signature: Signature) -> Any:
    """In the shape that `torch.export` wants for a forward with one variadic argument."""
    dims: dict[str, Any] = {}
    return ((*(_dynamic_axes(value.shape, dims) for value in signature.inputs),),)


def _dynamic_axes(shape: Shape, dims: dict[str, Any]) -> dict[int, Any]:
    axes = {}
    for index, axis in enumerate(shape):
        if isinstance(axis, Axis):
            dim = dims.setdefault(axis.name, Dim(axis.name, max=_BATCH_TRACED) if axis == BATCH else Dim(axis.name))
            axes[index] = dim if axis.multiple == 1 else axis.multiple * dim
    return axes


def _count_attentions(program: torch.export.ExportedProgram) -> int:
    name = torch.ops.aten.scaled_dot_product_attention.default
    return sum(1 for node in program.graph.nodes if node.op == "call_function" and node.target == name)


def _forget_the_machine(graph: Any) -> None:
    """Keep of the exporter's notes only which layer a node belongs to: the others hold paths of this machine."""
    nodes = list(graph.all_nodes())
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in nodes for output in node.outputs)]
    for noted in (graph, *nodes, *values):
        for key in noted.metadata_props.keys() - {_LAYER}:
            del noted.metadata_props[key]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's deprecation warnings and its notes on absent libraries say nothing to who exports a base."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
