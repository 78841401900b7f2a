"""A moving average of what is trained, to draw from and to pack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from training.concept_model import ConceptModel


class Average:
    """diffusers' `EMAModel` over a concept, by name; warmed up as there: the decay at step n is at most n / (n + 9)."""

    def __init__(self, model: ConceptModel, decay: float) -> None:
        self._model = model
        self._ema = EMAModel(model.parameters(), decay=decay, foreach=True)

    def update(self) -> None:
        """Take the model's parameters in, after a step."""
        self._ema.step(self._model.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """The average, by the names of the model's parameters."""
        names = (name for name, _ in self._model.named_parameters())
        return dict(zip(names, self._ema.shadow_params, strict=True))

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Go on from the average that `steps` updates made."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self._ema.optimization_step = steps

    def apply(self) -> None:
        """Put the average in the model's place, for good."""
        self._ema.copy_to(self._model.parameters())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the model's place for a while."""
        trained = [parameter.detach().clone() for parameter in self._model.parameters()]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, before in zip(self._model.parameters(), trained, strict=True):
                    parameter.copy_(before)
