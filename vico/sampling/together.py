"""Several pictures one step on at once: a few operations on one array, where each by itself would take as many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from vico.sampling.plan import Plan, SamplerState, move
from vico.sampling.step import Correction, Weights

Array = npt.NDArray[np.float32]
Picture = tuple[Plan, SamplerState[Array]]


def advance_together(pictures: Sequence[Picture], noise: Sequence[Array]) -> list[SamplerState[Array]]:
    """Do one step of every picture, as `advance` does of each by itself, to the bit.

    Args:
        pictures: plan and state; samplers and step numbers may differ, the latents' shape may not.
        noise: predicted for each.
    """
    stepped: dict[int, SamplerState[Array]] = {}
    for members in _alike(pictures):
        states = [pictures[k][1] for k in members]
        weights = [_weights(pictures[k]) for k in members]
        after = move(_columns(weights, states[0].latent.ndim), _stacked(weights[0], states), _array(noise, members))
        stepped |= {k: _taken_out(after, i, state) for i, (k, state) in enumerate(zip(members, states, strict=True))}
    return [stepped[k] for k in range(len(pictures))]


def _weights(picture: Picture) -> Weights[float]:
    plan, state = picture
    return plan.steps[state.index].weights


def _alike(pictures: Sequence[Picture]) -> Iterable[list[int]]:
    """Places of pictures whose steps are sums of the same terms."""
    found: dict[tuple[bool, ...], list[int]] = {}
    for k, picture in enumerate(pictures):
        weights, state = _weights(picture), picture[1]
        terms = weights.previous_data, weights.correction, state.previous_data, state.earlier_data
        found.setdefault(tuple(term is None for term in terms), []).append(k)
    return found.values()


def _stacked(weights: Weights[float], states: Sequence[SamplerState[Array]]) -> SamplerState[Array]:
    """One state of arrays [n, ...]; what the step does not read is left out."""
    corrected = weights.correction is not None
    asked = corrected or weights.previous_data is not None
    return SamplerState(
        np.array([state.latent for state in states]),
        0,
        _together([state.previous_data for state in states]) if asked else None,
        _together([state.earlier_data for state in states]) if corrected else None,
        _together([state.previous_latent for state in states]) if corrected else None,
    )


def _together(arrays: Sequence[Array | None]) -> Array | None:
    return None if arrays[0] is None else np.array(arrays)


def _array(noise: Sequence[Array], members: Sequence[int]) -> Array:
    return np.array([noise[k] for k in members])


def _taken_out(after: SamplerState[Array], place: int, before: SamplerState[Array]) -> SamplerState[Array]:
    """The state of one picture; its arrays are views."""
    data, begin = after.previous_data, after.previous_latent
    assert data is not None
    assert begin is not None
    return SamplerState(after.latent[place], before.index + 1, data[place], before.previous_data, begin[place])


def _columns(weights: Sequence[Weights[float]], rank: int) -> Weights[Array]:
    """Numbers of n pictures → [n, 1, ...] each, rounded as numpy rounds a number that meets float32."""
    corrections = [one.correction for one in weights if one.correction is not None]
    return Weights(
        _column([one.noise for one in weights], rank),
        _column([one.signal for one in weights], rank),
        _column([one.latent for one in weights], rank),
        _column([one.data for one in weights], rank),
        None if weights[0].previous_data is None else _column([one.previous_data for one in weights], rank),
        _corrections(corrections, rank) if corrections else None,
    )


def _corrections(corrections: Sequence[Correction[float]], rank: int) -> Correction[Array]:
    return Correction(
        _column([one.previous_latent_weight for one in corrections], rank),
        _column([one.data_weight for one in corrections], rank),
        _column([one.previous_data_weight for one in corrections], rank),
        _column([one.earlier_data_weight for one in corrections], rank),
    )


def _column(numbers: Sequence[float | None], rank: int) -> Array:
    return np.array(numbers, np.float32).reshape(-1, *[1] * rank)
