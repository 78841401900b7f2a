"""What the loop has met of concepts: by that it tells how much of a request's features is still to be computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.cache import ByteLRU
from serving.foresight.question import Reading
from serving.lane import ConceptUse, StreamKey

_KEPT = 4096
"""Of concepts, and of texts read beside them."""
_NEVER: tuple[StreamKey, StreamKey] = (("", "negative", "", 0), ("", "positive", "", 0))
"""Streams whose features are certainly not there."""


@dataclass(frozen=True)
class _Met:
    """Of one concept, the last time. One that was never met is of the usual kind, and nothing of it is there."""

    digest: str = ""
    references: int = 1
    """0: it is a word alone."""
    negative_share: float = 1.0
    fixed: StreamKey | None = None
    """The one stream of a concept that reads its own text whatever is asked."""


class Familiar:
    """Safe to use from several threads. Forecasts only: a concept's new version, or a photo in place of its own, is
    taken for what was met before until it has been met itself."""

    def __init__(self) -> None:
        self._concepts: ByteLRU[str, _Met] = ByteLRU(_KEPT, lambda _: 1)
        self._streams: ByteLRU[str, StreamKey] = ByteLRU(_KEPT, lambda _: 1)

    def learn(self, reading: Reading, use: ConceptUse | None) -> None:
        """A request read this. None: nothing, because its concept is a word alone or image guidance was not wanted."""
        if use is None:
            if reading.concept not in self._concepts:
                self._concepts.put(reading.concept, _Met(references=0))
            return
        negative, positive = (stream.key for stream in use.streams)
        share = use.image_guidance[0] / use.image_guidance[1]
        fixed = positive if negative == positive else None
        self._concepts.put(reading.concept, _Met(use.digest, len(use.references), share, fixed))
        if fixed is None:
            self._streams.put(reading.negative, negative)
            self._streams.put(reading.positive, positive)

    def likely(self, reading: Reading, image_guidance: float) -> ConceptUse | None:
        """What a request will read, without the arrays; None: nothing.

        Where the placeholder stands decides what the negative half reads: it is taken to stand where it last stood.
        """
        met = self._concepts.get(reading.concept) or _Met()
        if not met.references or image_guidance <= 0:
            return None
        keys = met.fixed, met.fixed
        if met.fixed is None:
            keys = self._streams.get(reading.negative), self._streams.get(reading.positive)
        negative, positive = (key or never for key, never in zip(keys, _NEVER, strict=True))
        return ConceptUse(
            met.digest,
            (met.negative_share * image_guidance, image_guidance),
            np.empty((met.references, 0, 0, 0), np.float32),
            np.empty((2, 0, 0), np.float32),
            position=0,
            known_keys=(negative, positive),
        )
