"""UniPC (arXiv 2302.04867) of order 2, B(h) = exp(h) - 1, on the prediction of the clean latent.

Predictor and corrector are linear in what the sampler remembers, so that here too a plan is a table of numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vico.sampling.schedule import NoiseSchedule
from vico.sampling.step import Correction, Levels, Step, first_order


def unipc(num_steps: int, schedule: NoiseSchedule) -> tuple[Step, ...]:
    """diffusers' UniPCMultistepScheduler in its defaults: order 2, bh2, linspace, first and last step of order 1."""
    last = schedule.num_train_timesteps - 1
    timesteps = np.linspace(0, last, num_steps + 1).round()[::-1][:-1].astype(np.int64)
    power = schedule.alphas_cumprod()[timesteps]
    steps = first_order(timesteps, power, np.append(power[1:], 1.0))
    log_snr = 0.5 * (np.log(power) - np.log1p(-power))
    return tuple(_step(steps, log_snr, index) for index in range(num_steps))


def _step(steps: tuple[Step, ...], log_snr: Levels, index: int) -> Step:
    step = steps[index]
    if 0 < index < len(steps) - 1:
        step = _predict_second_order(steps, log_snr, index)
    return step if index == 0 else replace(step, correction=_correct(steps, log_snr, index))


def _predict_second_order(steps: tuple[Step, ...], log_snr: Levels, index: int) -> Step:
    """The first-order step, and half the slope of the last two predictions."""
    step = steps[index]
    ahead, behind = log_snr[index + 1] - log_snr[index], log_snr[index - 1] - log_snr[index]
    slope = float(0.5 * step.data_weight * ahead / behind)
    return replace(step, data_weight=step.data_weight - slope, previous_weight=slope)


def _correct(steps: tuple[Step, ...], log_snr: Levels, index: int) -> Correction:
    """The step before done once more, with the prediction at its end known."""
    before = steps[index - 1]
    earlier_share, share = 0.0, 0.5
    if index > 1:
        h = log_snr[index] - log_snr[index - 1]
        lag = (log_snr[index - 2] - log_snr[index - 1]) / h
        slopes = _corrector_slopes(float(h), float(lag))
        earlier_share, share = slopes[0] / lag, slopes[1]
    weight = before.data_weight
    return Correction(
        previous_latent_weight=before.latent_weight,
        data_weight=float(weight * share),
        previous_data_weight=float(weight * (1 - earlier_share - share)),
        earlier_data_weight=float(weight * earlier_share),
    )


def _corrector_slopes(h: float, lag: float) -> Levels:
    """Weights of two slopes (the paper's equation 9, order 2): the one over `lag` steps back, and the one ahead."""
    scale = np.expm1(-h)
    first = scale / -h - 1
    second = first / -h - 0.5
    slopes: Levels = np.linalg.solve([[1.0, 1.0], [lag, 1.0]], [first / scale, 2 * second / scale])
    return slopes
