"""What can go wrong in an export."""

from __future__ import annotations

from vico.errors import VicoError


class ExportError(VicoError):
    """The root of every refusal of this room."""


class TargetError(ExportError):
    """A target that is unknown, or that this machine or version cannot build."""


class GraphError(ExportError):
    """A graph came out of the exporter in another form than serving relies on."""


class ParityError(ExportError):
    """An exported graph does not compute what torch computes."""


class TokenizerError(ExportError):
    """A base's tokenizer cannot be written in a form that gives the same ids."""


class RepositoryError(ExportError):
    """The Triton model repository cannot be assembled."""
