"""The graph set's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.concepts import BASE_DIGEST, SITES
from vico.concept import GraphSet, GraphSpec, TokenizerSpec, read_graphset, write_graphset
from vico.errors import GraphSetError
from vico.sampling import NoiseSchedule


def make_graphset() -> GraphSet:
    return GraphSet(
        base_digest=BASE_DIGEST,
        base_name="tiny",
        tokenizer=TokenizerSpec(1, 2, 2, 3),
        schedule=NoiseSchedule(),
        sites=SITES,
        graphs={"denoiser": GraphSpec("graphs/denoiser/x/model.onnx", "cd" * 32)},
        context_width=6,
        vae_factor=4,
        size_multiple=16,
        default_size=64,
        max_size=128,
    )


def test_round_trip(tmp_path: Path) -> None:
    write_graphset(tmp_path, make_graphset())
    assert read_graphset(tmp_path) == make_graphset()


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(GraphSetError, match="vico export"):
        read_graphset(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"format_version": 1', '"format_version": 2', "format_version"),
        ('"base_digest": "ab', '"base_digest": "zz', "base_digest"),
        ('"vae_factor": 4', '"vae_factor": "four"', "vae_factor"),
        ('"denoiser"', '"unet"', "graphs"),
        ("{", "[", "graphset.json"),
    ],
)
def test_malformed_is_refused_by_field(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = write_graphset(tmp_path, make_graphset())
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(GraphSetError, match=named):
        read_graphset(tmp_path)


def test_schedule_defaults_are_stable_diffusion() -> None:
    alphas = NoiseSchedule().alphas_cumprod()
    assert alphas.shape == (1000,)
    assert alphas[0] == pytest.approx(0.99915)
    assert alphas[-1] == pytest.approx(0.00466, abs=1e-5)
    assert replace(NoiseSchedule(), beta_schedule="linear").alphas_cumprod()[-1] < alphas[-1] * 1.5
