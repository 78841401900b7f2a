"""How long a step takes: learnt from the steps taken.

For every size class a line is fitted: seconds = a + b x rows + c x rows that read references + d x rows of the
reference stream that were computed meanwhile beside the loop. Older steps count less and less, and a step far off the
line counts little: one stall does not spoil the forecast, and a lasting change is learnt within some hundred steps.

It starts from nothing: until a first step was measured there is no forecast, and a class never stepped is taken for
another one with its times scaled by the area. Where the rows have not varied yet, the fixed part is taken to be as
large as one row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SizeClass = tuple[int, int]
"""Height and width of the latent: pictures of one size class can share a batch."""

_MEMORY = 0.98
"""Weight of a step that is one step older."""
_PRIOR_WEIGHT = 0.05
"""Of the assumption about what has not varied yet, in steps."""
_OUTLIER = 3.0
"""A residual of so many typical ones begins to count less."""
_FEW = 8
"""Steps before the spread is trusted; strays in a row after which they are."""
_SOLVE_EVERY = 4


@dataclass(frozen=True)
class StepShape:
    """What the time of a step depends on."""

    size_class: SizeClass
    """Height and width of the latent."""
    rows: float
    attending: float = 0.0
    """Rows that read references."""
    beside: float = 0.0
    """Rows of the reference stream computed in the same time."""

    @property
    def terms(self) -> tuple[float, float, float, float]:
        """The regressors."""
        return 1.0, self.rows, self.attending, self.beside


class _Line:
    """The robust line of one size class; see the module."""

    def __init__(self) -> None:
        self._squares = [[0.0] * 4 for _ in range(4)]
        self._products = [0.0] * 4
        self._per_row = 0.0
        self._spread = 0.0
        self._steps = self._strays = 0
        self._terms = (0.0, 0.0, 0.0, 0.0)

    def observe(self, shape: StepShape, seconds: float) -> None:
        """Learn from one step."""
        weight = self._weight(abs(seconds - self.predict(shape)))
        # in every step: for so few numbers Python is quicker than numpy
        for i, x in enumerate(shape.terms):
            self._squares[i] = [
                _MEMORY * square + weight * x * y for square, y in zip(self._squares[i], shape.terms, strict=True)
            ]
            self._products[i] = _MEMORY * self._products[i] + weight * seconds * x
        self._steps += 1
        self._per_row += self._rate * weight * (seconds / (shape.rows + 1.0) - self._per_row)
        if self._steps <= _FEW or self._steps % _SOLVE_EVERY == 0:
            self._terms = self._solve()

    def predict(self, shape: StepShape) -> float:
        """Seconds of a step."""
        a, b, c, d = self._terms
        return a + b * shape.rows + c * shape.attending + d * shape.beside

    @property
    def _rate(self) -> float:
        return max(1.0 / self._steps, 1 - _MEMORY)

    def _weight(self, residual: float) -> float:
        """1 near the line, then falling with the distance's square; many strays in a row are the new truth."""
        if self._steps == 0:
            return 1.0
        limit = _OUTLIER * self._spread
        stray = self._steps > _FEW and residual > limit
        self._strays = self._strays + 1 if stray else 0
        believed = not stray or self._strays > _FEW
        # a spread that outliers could not widen at all would never let go of a line that is too certain
        self._spread += self._rate * ((residual if believed else 1.2 * limit) - self._spread)
        return 1.0 if believed else (limit / residual) ** 2

    def _solve(self) -> tuple[float, float, float, float]:
        """Least squares with every term at least 0; the assumption decides what the steps leave open."""
        squares = np.array(self._squares) + _PRIOR_WEIGHT * np.eye(4)
        products = np.array(self._products) + _PRIOR_WEIGHT * self._per_row * np.array([1.0, 1.0, 0.0, 0.0])
        free = [0, 1, 2, 3]
        while True:
            terms = np.zeros(4)
            terms[free] = np.linalg.solve(squares[np.ix_(free, free)], products[free])
            below = [i for i in free if terms[i] < 0.0]
            if not below:
                a, b, c, d = terms.tolist()
                return a, b, c, d
            free = [i for i in free if i not in below]


class CostModel:
    """Seconds of a step by its shape, over all size classes. Not thread-safe."""

    def __init__(self) -> None:
        self._lines: dict[SizeClass, _Line] = {}

    @property
    def known(self) -> bool:
        """Whether any step was measured."""
        return bool(self._lines)

    def observe(self, shape: StepShape, seconds: float) -> None:
        """Learn from a step that took `seconds`."""
        self._lines.setdefault(shape.size_class, _Line()).observe(shape, seconds)

    def step_seconds(self, shape: StepShape) -> float | None:
        """The forecast; None while no step was measured."""
        line = self._lines.get(shape.size_class)
        if line is not None:
            return line.predict(shape)
        if not self._lines:
            return None
        size_class, nearest = min(self._lines.items(), key=lambda item: abs(_area(item[0]) - _area(shape.size_class)))
        return nearest.predict(shape) * _area(shape.size_class) / _area(size_class)


def _area(size_class: SizeClass) -> int:
    height, width = size_class
    return height * width
