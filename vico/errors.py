"""The root of every error this project raises on purpose."""

from __future__ import annotations


class VicoError(Exception):
    """A refusal that its reader can act on: which field, what is wrong with it, what is accepted.

    The text is one line, safe to show to a client: it never holds a path, a traceback or an internal name
    unless the caller is the command line and the path is the user's own argument.
    """

    def __init__(self, field: str, problem: str, accepted: str = "") -> None:
        self.field = field
        self.problem = problem
        self.accepted = accepted
        super().__init__(f"{field}: {problem}; accepted: {accepted}" if accepted else f"{field}: {problem}")

    def __reduce__(self) -> tuple[type[VicoError], tuple[str, str, str]]:
        return type(self), (self.field, self.problem, self.accepted)


class BaseError(VicoError):
    """A base folder that is absent, incomplete, or not Stable Diffusion 1.x."""


class ConceptError(VicoError):
    """A concept package that is torn, altered, malformed, or made for another base."""


class GraphSetError(VicoError):
    """A folder of exported graphs that is absent, malformed, or of another format version."""


class PromptError(VicoError):
    """A prompt in which the placeholder is absent, repeated, or beyond the encoder's window."""


class SamplerError(VicoError):
    """An unknown sampler, or a step count outside the noise schedule."""
