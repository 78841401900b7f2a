"""Samplers as pure functions of arrays: the same code steps numpy lanes in the server and torch tensors in tests."""

from vico.sampling.noise import initial_noise
from vico.sampling.plan import SAMPLERS, Plan, SamplerState, advance, guide, make_plan
from vico.sampling.presets import ALWAYS, DEFAULT_PRESET, PRESETS, GuidanceInterval, Preset
from vico.sampling.schedule import NoiseSchedule

__all__ = [
    "ALWAYS",
    "DEFAULT_PRESET",
    "PRESETS",
    "SAMPLERS",
    "GuidanceInterval",
    "NoiseSchedule",
    "Plan",
    "Preset",
    "SamplerState",
    "advance",
    "guide",
    "initial_noise",
    "make_plan",
]
