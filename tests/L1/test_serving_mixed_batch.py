"""The engine over the real graphs: lanes of every kind in one batch give the latents that each gives alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from serving.bank import SlotBank
from serving.config import ServingConfig
from serving.engine import Engine
from serving.lane import ConceptUse, FloatArray, Lane, LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import OpenRunner, open_runner
from vico.concept import ConceptPackage, read_package
from vico.concept.graphset import GraphName
from vico.sampling import initial_noise, make_plan

if TYPE_CHECKING:
    from conftest import Exported

TOLERANCE = 1e-4
"""Greatest difference of latents, whose values are about 1: the runtime sums in another order in another batch."""


@pytest.fixture(scope="module")
def engine(exported: Exported, concepts: dict[str, ConceptPackage]) -> Callable[[], Engine]:
    config = ServingConfig(exported.folder, exported.folder)
    graphset = exported.graphset
    names: tuple[GraphName, ...] = ("denoiser", "reference_encoder")
    runners: list[OpenRunner] = [open_runner(config, graphset, name) for name in names]

    def make() -> Engine:
        references = ReferenceFeatures(runners[1], len(graphset.sites), 2**28, lookahead=4, max_rows=8)
        bank = SlotBank(graphset.sites, 2)
        return Engine(runners[0], references, bank, concepts.__getitem__, graphset.sites, max_lanes=6)

    return make


@pytest.fixture(scope="module")
def concepts(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ConceptPackage]:
    folder: Path = tmp_path_factory.mktemp("concepts")
    packages = [read_package(exported.make_concept(folder, f"c{k}", seed=k)) for k in range(3)]
    return {package.digest: package for package in packages}


def specs(exported: Exported, concepts: dict[str, ConceptPackage]) -> list[LaneSpec]:
    """Ten lanes: three concepts and none, two samplers, four step counts, with and without guidance, two sizes."""
    graphset, made = exported.graphset, []
    for k in range(10):
        package = [None, *concepts.values()][k % 4]
        random = np.random.default_rng(k)
        context = random.standard_normal((2, 77, graphset.context_width)).astype(np.float32)
        use = _use(package, [1.0, 0.6][k % 2], context, 5 + k) if package else None
        plan = make_plan(["ddim", "dpmpp_2m"][k % 2], 3 + k % 4, graphset.schedule)
        noise = initial_noise(k, 0, (4, 16, [16, 12][k % 3 == 2]))
        made.append(LaneSpec(plan, noise, context, [1.0, 7.5, 3.0][k % 3], use))
    return made


def _use(package: ConceptPackage, strength: float, context: FloatArray, position: int) -> ConceptUse:
    return ConceptUse(package.digest, (strength, strength), package.references.astype(np.float32), context, position)


def finish(engine: Engine, wanted: list[LaneSpec]) -> list[Lane]:
    """Submit one lane with every step, so that lanes join and leave at different times."""
    waiting, lanes = list(wanted), []
    while waiting or not engine.idle:
        if waiting:
            lanes.append(engine.submit(waiting.pop(0)))
        engine.step()
        engine.check_integrity()
    return lanes


def test_mixed_equals_alone(
    exported: Exported, concepts: dict[str, ConceptPackage], engine: Callable[[], Engine]
) -> None:
    wanted = specs(exported, concepts)
    mixed = finish(engine(), wanted)
    worst = 0.0
    for lane in mixed:
        [alone] = finish(engine(), [lane.spec])
        worst = max(worst, float(np.abs(lane.state.latent - alone.state.latent).max()))
    print(f"greatest difference of mixed and alone: {worst:.1e}")
    assert worst <= TOLERANCE


def test_no_strength_is_plain(
    exported: Exported, concepts: dict[str, ConceptPackage], engine: Callable[[], Engine]
) -> None:
    spec = specs(exported, concepts)[1]
    assert spec.concept is not None
    plain = LaneSpec(spec.plan, spec.noise, spec.context, spec.guidance_scale)
    faint = replace(spec.concept, image_guidance=(0.0, 0.0))
    weak = LaneSpec(spec.plan, spec.noise, spec.context, spec.guidance_scale, faint)
    strong, [without], [zero] = finish(engine(), [spec])[0], finish(engine(), [plain]), finish(engine(), [weak])
    np.testing.assert_allclose(zero.state.latent, without.state.latent, atol=TOLERANCE)
    assert np.abs(strong.state.latent - without.state.latent).max() > 10 * TOLERANCE
