"""An exported graph in the form of one target."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass
from onnx_ir.serde import SerdeError

from export.errors import GraphError, TargetError
from export.facts import GraphFacts, facts_of
from export.signatures import Signature
from export.store import MODEL_FILE
from export.targets.flash_attention import use_multi_head_attention
from export.targets.group_norm import use_instance_norm
from export.targets.half import use_half
from export.targets.late_gathers import gather_late
from export.targets.static_shapes import use_static_shapes
from vico.concept.atomic import write_atomically
from vico.concept.graphset import TargetName

_WIDTHS: dict[TargetName, ir.DataType] = {"onnx-fp16": ir.DataType.FLOAT16, "onnx-bf16": ir.DataType.BFLOAT16}
FORMS: tuple[TargetName, ...] = ("onnx", *_WIDTHS)


def shares_weights(target: TargetName) -> bool:
    """Whether the form reads the very weights of the exported graph, and so must lie in its folder.

    ONNX Runtime reads weights from the graph's folder or below only; a hard link elsewhere is refused by `onnx` as an
    attack, for the linked file as well.
    """
    return target == "onnx"


def write_form(source: Path, model: Path, signature: Signature, target: TargetName) -> GraphFacts:
    """Write the exported graph `source` to the file `model` as `target` runs it best.

    With shared weights `model` must be in the folder of `source`, else in one of its own.

    Raises:
        GraphError: the graph lost a fused attention on the way, or a weight does not fit.
        TargetError: there is no such form.
    """
    if target not in FORMS:
        raise TargetError("target", f"{target!r} is not a form of a graph", ", ".join(FORMS))
    content = ir.load(source)
    attentions = sum(1 for node in content.graph if node.op_type == "Attention")
    use_static_shapes(content)
    if target == "onnx":
        use_multi_head_attention(content)
        use_instance_norm(content)
        gather_late(content)
        facts = _tidied(content, signature, attentions, "MultiHeadAttention")
        write_atomically(model, ir.to_proto(content).SerializeToString())
    else:
        use_half(content, _WIDTHS[target], float_io=target == "onnx-bf16")
        facts = _tidied(content, signature, attentions, "Attention")
        _save(content, model)
    return facts


def _save(content: ir.Model, model: Path) -> None:
    """Write graph and weights; a weight that is refused as it is converted is told as such."""
    try:
        ir.save(content, model, external_data=f"{model.name}.data")
    except SerdeError as error:
        if isinstance(error.__cause__, GraphError):
            raise error.__cause__ from None
        raise


def files_of(model: Path) -> Iterable[Path]:
    """The files that the graph in `model` is made of."""
    data = model.with_name(f"{MODEL_FILE}.data")
    return [model, data] if data.is_file() else [model]


def _tidied(content: ir.Model, signature: Signature, attentions: int, operator: str) -> GraphFacts:
    RemoveUnusedNodesPass()(content)
    NameFixPass()(content)
    return facts_of(content.graph, signature, attentions, operator)
