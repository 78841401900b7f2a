"""The text of a picture of several concepts, and what each concept's reference stream reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from einops import repeat
from torch import Tensor

from vico.base import Base
from vico.concept import reference_prompt, tokenize_prompt
from vico.loaded_concept import LoadedConcept
from vico.pipeline import PictureRequest, Prompted
from vico.several.prompt import tokenize_several
from vico.text import encode_prompts, prompt_batch, tokenize_prompts


@dataclass(frozen=True)
class Member:
    """One of the concepts, in the order of the caller."""

    concept: LoadedConcept
    position: int  # of its first vector in the prompt
    prompted: Prompted  # what its reference stream reads, with its own placeholder's position there


@dataclass(frozen=True)
class SeveralPrompted:
    """The halves of guidance, negative first; one row without guidance."""

    context: Tensor  # [G, 77, D]
    members: tuple[Member, ...]

    @property
    def positive(self) -> SeveralPrompted:
        """The positive half alone."""
        members = tuple(replace(member, prompted=member.prompted.positive) for member in self.members)
        return SeveralPrompted(self.context[-1:], members)


def encode_several(base: Base, request: PictureRequest, concepts: Mapping[str, LoadedConcept]) -> SeveralPrompted:
    """Encode the halves with every concept's vectors in its placeholder's place.

    Raises:
        PromptError: as `tokenize_several`.
    """
    vectors = {placeholder: concept.token_embedding.shape[0] for placeholder, concept in concepts.items()}
    row, positions = tokenize_several(request.prompt, base.encode_text, base.tokenizer_spec, vectors)
    rows = [row]
    if request.guidance_scale != 1:
        rows.insert(0, tokenize_prompt(request.negative_prompt, base.encode_text, base.tokenizer_spec))
    batch = prompt_batch(rows, sum(vectors.values()), base.device)
    embedding = torch.cat([concept.token_embedding for concept in concepts.values()])
    embedding = repeat(embedding, "v d -> g v d", g=len(rows))
    context = encode_prompts(base.text_encoder, batch.input_ids, batch.placeholder_position, embedding)
    members = [
        Member(concept, positions[p], _reference_text(base, concept, context, positions[p]))
        for p, concept in concepts.items()
    ]
    return SeveralPrompted(context, tuple(members))


def _reference_text(base: Base, concept: LoadedConcept, context: Tensor, position: int) -> Prompted:
    """Each half's own prompt, or the concept's fixed one (`LoadedConcept.reference_context`)."""
    if concept.reference_context == "concept":
        vectors = concept.token_embedding.shape[0]
        fixed = tokenize_prompts(base, [reference_prompt(concept.placeholder)], concept.placeholder, vectors)
        reference = encode_prompts(
            base.text_encoder, fixed.input_ids, fixed.placeholder_position, concept.token_embedding[None]
        )
        return Prompted(context, reference, fixed.attention_position)
    # a half that does not attend may be handed the other's features
    reference = context[-1:] if concept.negative_image_guidance == 0 else context
    return Prompted(context, reference, torch.full((len(reference),), position, device=context.device))
