"""What passes between the rooms: the concept package, the graph set, the prompt. Free of torch."""

from vico.concept.graphset import GraphSet, GraphSpec, SiteSpec, read_graphset, write_graphset
from vico.concept.layout import BLOCK_TENSORS, block_tensor_shapes, image_attention_key
from vico.concept.manifest import Manifest, ReferenceContext, TensorSpec, validate_concept_id
from vico.concept.package import ConceptPackage, parse_manifest, read_package, write_package
from vico.concept.prompt import TokenizedPrompt, TokenizerSpec, reference_prompt, tokenize_prompt

__all__ = [
    "BLOCK_TENSORS",
    "ConceptPackage",
    "GraphSet",
    "GraphSpec",
    "Manifest",
    "ReferenceContext",
    "SiteSpec",
    "TensorSpec",
    "TokenizedPrompt",
    "TokenizerSpec",
    "block_tensor_shapes",
    "image_attention_key",
    "parse_manifest",
    "read_graphset",
    "read_package",
    "reference_prompt",
    "tokenize_prompt",
    "validate_concept_id",
    "write_graphset",
    "write_package",
]
