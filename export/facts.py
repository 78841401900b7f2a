"""What is in a graph, held against what serving relies on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from export.errors import GraphError
from export.signatures import Signature

ATTENTIONS = ("Attention", "MultiHeadAttention")


@dataclass(frozen=True)
class GraphFacts:
    """What is in a graph."""

    nodes: int
    attention_nodes: int


def facts_of(graph: Any, signature: Signature, attentions: int, operator: str = "Attention") -> GraphFacts:
    """Count the nodes of `graph` (an `onnx_ir.Graph`).

    Args:
        graph: what is to be saved.
        signature: its inputs, outputs, and the softmaxes that are meant to be there.
        attentions: how many fused attentions the model has.
        operator: the form in which the target runs them; no other form may be left.

    Raises:
        GraphError: an attention is lost, unfused, biased or in another form; inputs or outputs differ.
    """
    found = [value.name for value in graph.inputs], [value.name for value in graph.outputs]
    wanted = [value.name for value in signature.inputs], [value.name for value in signature.outputs]
    if found != wanted:
        raise GraphError(signature.name, f"inputs and outputs {found} came out of the exporter", str(wanted))
    nodes = list(graph.all_nodes())
    counts = Counter(node.op_type for node in nodes)
    for form in ATTENTIONS:
        expected = attentions if form == operator else 0
        if counts[form] != expected:
            raise GraphError(
                signature.name, f"{counts[form]} {form} nodes", f"{expected}, one per attention of the model"
            )
    if counts["Softmax"] != signature.attention_maps:
        raise GraphError(
            signature.name,
            f"{counts['Softmax']} Softmax nodes: an attention is not fused",
            f"{signature.attention_maps}",
        )
    fused = [node for node in nodes if node.op_type in ATTENTIONS]
    if biased := sum(1 for node in fused if any(value is not None for value in node.inputs[3:])):
        raise GraphError(signature.name, f"{biased} Attention nodes take a bias matrix, which no runtime fuses", "none")
    return GraphFacts(nodes=sum(counts.values()), attention_nodes=len(fused))
