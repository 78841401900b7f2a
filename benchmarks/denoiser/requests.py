"""Short requests through the serving engine, to prove that a request costs what its steps and references cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.denoiser.prepared import Prepared
from benchmarks.denoiser.settings import SHORT_STEPS, Settings
from benchmarks.denoiser.worker import Action
from serving.bank import SlotBank
from serving.engine import Engine
from serving.lane import ConceptUse, LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import Feeds, Results, Runner
from vico.concept import read_graphset, read_package
from vico.sampling import initial_noise, make_plan


class KeptShare:
    """The reference encoder with the benchmark's masks: those of random weights keep a random share."""

    def __init__(self, runner: Runner, kept: tuple[int, ...]) -> None:
        self._runner, self._kept = runner, kept

    def run(self, feeds: Feeds) -> Results:
        """As the runner, with the first tokens of every row kept."""
        results = self._runner.run(feeds)
        for i, count in enumerate(self._kept):
            mask = np.zeros_like(results[f"reference_mask.{i}"])
            mask[:, :count] = 1
            results[f"reference_mask.{i}"] = mask
        return results


class Requests:
    """One picture of one concept with guidance, `SHORT_STEPS` steps."""

    def __init__(self, settings: Settings, prepared: Prepared, denoiser: Runner, references: Runner) -> None:
        graphset = read_graphset(prepared.graphset)
        package = read_package(prepared.concepts[0])
        streams = ReferenceFeatures(
            KeptShare(references, prepared.kept(settings.latent)), len(graphset.sites), 2**31, lookahead=SHORT_STEPS
        )
        bank = SlotBank(graphset.sites, 2)
        self._engine = Engine(denoiser, streams, bank, lambda digest: package, graphset.sites, max_lanes=1)
        self._random = np.random.default_rng(0)
        self._width = graphset.context_width
        negative, fixed = self._context(), self._context()
        concept = ConceptUse(package.digest, (1.0, 1.0), package.references, np.stack([fixed, fixed]), position=5)
        noise = initial_noise(0, 0, (graphset.latent_channels, settings.latent, settings.latent))
        plan = make_plan("dpmpp_2m", SHORT_STEPS, graphset.schedule)
        self._spec = LaneSpec(plan, noise, np.stack([negative, negative]), 7.5, concept)
        # the features of the fixed context, and in the exact mode those of the negative half, are known from before
        self._draw(self._spec)
        self._exact = replace(concept, contexts=np.stack([negative, negative]))
        self._draw(replace(self._spec, concept=self._exact))

    def prepare(self, *, fixed: bool) -> Action:
        """A request with a prompt never seen before."""
        negative, positive = self._spec.context[0], self._context()
        contexts = np.stack([negative, positive])
        concept = self._spec.concept if fixed else replace(self._exact, contexts=contexts)
        spec = replace(self._spec, context=contexts, concept=concept)
        return lambda: self._draw(spec)

    def _context(self) -> np.ndarray:  # type: ignore[type-arg]
        return self._random.standard_normal((77, self._width)).astype(np.float32)

    def _draw(self, spec: LaneSpec) -> None:
        lane = self._engine.submit(spec)
        while not self._engine.idle:
            self._engine.step()
        if lane.error is not None:
            raise lane.error
