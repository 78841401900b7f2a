"""First stage: validates the whole request, resolves the concept, encodes both prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from serving.cache import ByteLRU
from serving.caller import caller_of
from serving.concepts.head import ConceptHead
from serving.concepts.listing import PATTERN, list_concepts, parse_pattern
from serving.concepts.opening import open_registry
from serving.concepts.registry import Registry
from serving.concepts.watcher import Watcher
from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.errors import ConceptNotFound
from serving.fields import RawArray, RawFields
from serving.photo import open_photo
from serving.report import Notice, StageReport, Stopwatch
from serving.request import REFERENCE_IMAGE, parse_request
from serving.runner import Feeds, Runner, open_runner
from serving.seal import Seal
from serving.stages.stage import NO_DEADLINE, bytes_tensor, note_request, text_tensor
from vico.concept import GraphSet, TokenizedPrompt, read_graphset, reference_prompt, tokenize_prompt

FloatArray = npt.NDArray[np.float32]
_Key = tuple[tuple[int, ...], tuple[int, ...], str]


@dataclass(frozen=True)
class _Row:
    """One prompt, ready for the graph."""

    prompt: TokenizedPrompt
    head: ConceptHead | None

    @property
    def key(self) -> _Key:
        return self.prompt.input_ids, self.prompt.placeholder_positions, self.head.digest if self.head else ""


class TextEncoderStage:
    """raw fields → `request`, `context` [2, 77, D] (negative, positive), and what the reference stream reads:
    `reference_context` [2, 77, D], `placeholder_position` [1]. Or `pattern` → `concepts`, for `vico_concepts`."""

    name = "text_encoder"

    def __init__(
        self,
        graphset: GraphSet,
        runner: Runner,
        tokenizer: Tokenizer,
        registry: Registry,
        context_bytes: int,
        seal: Seal,
    ) -> None:
        self._graphset = graphset
        self._runner = runner
        self._registry = registry
        self._seal = seal
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._contexts: ByteLRU[_Key, FloatArray] = ByteLRU(context_bytes, lambda context: context.nbytes)

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        watch = Stopwatch()
        caller = caller_of(inputs, self._seal)
        if PATTERN.name in inputs:
            return {"concepts": text_tensor(list_concepts(self._registry, caller, parse_pattern(inputs)))}
        request = replace(parse_request(inputs, self._graphset).due(deadline), client=caller.client, call=caller.call)
        if photo := REFERENCE_IMAGE.read(inputs):
            open_photo(photo)
        if request.concept and not caller.sees(request.concept):
            raise _hidden(request.concept)
        resolved = self._registry.resolve(request.concept) if request.concept else None
        head = resolved.head if resolved else None
        if head is not None:
            request = replace(request.resolved(head.digest), negative_image_guidance=head.negative_image_guidance)
            if head.token_only:
                # without strength every later stage takes the concept for its word alone
                request = replace(request, image_guidance=0.0)
        note_request(request)
        negative = tokenize_prompt(request.negative_prompt, self._ids, self._graphset.tokenizer)
        positive = self._tokenized(request.prompt, head)
        warnings = (resolved.warnings if resolved else ()) + _truncations(negative, positive)
        rows = [_Row(negative, None), _Row(positive, head)]
        read = self._reference_rows(rows, head)
        contexts = self._encode([*rows, *read])
        return {
            "request": bytes_tensor([self._seal.close(request.to_json())]),
            "context": np.stack(contexts[:2]),
            "reference_context": np.stack(contexts[2:]),
            "placeholder_position": np.array([read[1].prompt.attention_position], np.int64),
            "text_encoder_report": text_tensor(StageReport(self.name, watch.seconds, warnings).to_json()),
        }

    def _reference_rows(self, rows: list[_Row], head: ConceptHead | None) -> list[_Row]:
        """What the reference stream reads in both halves: the prompts, or the concept's own whatever is asked."""
        if head is None or head.reference_context == "prompt":
            return rows
        return [_Row(self._tokenized(reference_prompt(head.placeholder), head), head)] * len(rows)

    def _tokenized(self, prompt: str, head: ConceptHead | None) -> TokenizedPrompt:
        spec = self._graphset.tokenizer
        if head is None:
            return tokenize_prompt(prompt, self._ids, spec)
        return tokenize_prompt(prompt, self._ids, spec, head.placeholder, len(head.token_embedding))

    def _ids(self, text: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _encode(self, rows: Sequence[_Row]) -> list[FloatArray]:
        """[77, D] for every row; only those that were not met lately are computed, equal ones once."""
        distinct = {row.key: row for row in rows}
        found = {key: context for key in distinct if (context := self._contexts.get(key)) is not None}
        missing = [row for key, row in distinct.items() if key not in found]
        if missing:
            found |= zip((row.key for row in missing), self._run(missing), strict=True)
        return [found[row.key] for row in rows]

    def _run(self, rows: Sequence[_Row]) -> FloatArray:
        vectors = max(len(row.prompt.placeholder_positions) for row in rows) or 1
        positions = np.full((len(rows), vectors), -1, np.int64)
        embedding = np.zeros((len(rows), vectors, self._graphset.context_width), np.float32)
        for b, row in enumerate(rows):
            if row.head is not None:
                positions[b] = row.prompt.placeholder_positions
                embedding[b] = row.head.token_embedding
        feeds: Feeds = {
            "input_ids": np.array([row.prompt.input_ids for row in rows], np.int64),
            "placeholder_position": positions,
            "token_embedding": embedding,
        }
        contexts: FloatArray = self._runner.run(feeds)["context"]
        for row, context in zip(rows, contexts, strict=True):
            self._contexts.put(row.key, context.copy())
        return contexts


def _hidden(concept: str) -> ConceptNotFound:
    """Word for word what the registry says of a concept that is not there (a test holds them together)."""
    concept_id = concept.partition("@")[0]
    return ConceptNotFound("concept", f"no concept {concept_id!r}", "a concept in the registry, or one of its versions")


def _truncations(negative: TokenizedPrompt, positive: TokenizedPrompt) -> tuple[Notice, ...]:
    room = len(positive.input_ids) - 2
    return tuple(
        Notice(f"{name}_truncated", f"{name}: only its first {room} tokens are read")
        for name, prompt in (("negative_prompt", negative), ("prompt", positive))
        if prompt.truncated
    )


def open_text_encoder(config: ServingConfig) -> TextEncoderStage:
    """The stage over the graph set and registry of `config`."""
    graphset = read_graphset(config.graphs)
    registry = open_registry(config, graphset)
    Watcher(registry, config.registry_seconds).start()
    return TextEncoderStage(
        graphset,
        open_runner(config, graphset, "text_encoder"),
        Tokenizer.from_file(str(config.graphs / "tokenizer.json")),
        registry,
        config.context_bytes,
        Seal(config.secret),
    )
