"""The four stages of the ensemble, each a function from named arrays to named arrays. No Triton types."""

from serving.stages.stage import Stage

__all__ = ["Stage"]
