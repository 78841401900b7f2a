"""The SDK against the real server: pictures, info, and every kind of error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from served import Caller, Served

vico_client = pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

if TYPE_CHECKING:
    from conftest import Exported

PROMPT = "a photo of a * on grass"


@pytest.fixture
def client(server: Served) -> Iterator[Any]:
    with vico_client.Client(server.address, timeout=60) as client:
        yield client


def test_pictures_and_info(client: Any, call: Caller) -> None:
    assert client.ready()
    result = client.generate_result(PROMPT, concept="toy", steps=3, seed=5, num_images=2, height=40, width=24)
    expected = call(prompt=PROMPT, concept="toy", steps=3, seed=5, num_images=2, height=40, width=24)
    assert [image.size for image in result.images] == [(24, 40)] * 2
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in result.images]), expected.pixels())
    assert result.info.concept == expected.info["concept"]
    assert (result.info.seed, result.info.steps) == (5, 3)


def test_concepts(client: Any) -> None:
    version = client.generate_result(PROMPT, concept="toy", steps=1).info.concept
    assert client.concepts("t?y") == [vico_client.Concept("toy", version)]
    assert "toy" in [concept.name for concept in client.concepts()]
    with pytest.raises(vico_client.InvalidRequest) as caught:
        client.concepts("No/Such")
    assert caught.value.field == "pattern"


@pytest.mark.parametrize("output_format", ["png", "raw"])
def test_formats_agree(client: Any, output_format: str) -> None:
    [picture] = client.generate("a dog", steps=2, seed=1, output_format=output_format)
    [expected] = client.generate("a dog", steps=2, seed=1)
    assert picture.tobytes() == expected.tobytes()


def test_a_photo_travels(client: Any) -> None:
    photo = Image.effect_noise((70, 50), 80).convert("RGB")
    [with_photo] = client.generate(PROMPT, concept="toy", steps=2, seed=1, reference_image=photo)
    [without] = client.generate(PROMPT, concept="toy", steps=2, seed=1)
    assert with_photo.tobytes() != without.tobytes()


def test_nobody_works_for_a_client_that_stopped_waiting(client: Any) -> None:
    # refused at once if the server has learnt by now how long its steps take
    with pytest.raises((vico_client.DeadlineExceeded, vico_client.Overloaded)):
        client.generate("a dog", steps=100, num_images=8, timeout=0.5)
    # those 800 lane steps take several times this timeout; the next request does not queue behind them
    assert client.generate("a dog", steps=1, timeout=5)


def test_the_asyncio_client(server: Served) -> None:
    async def both() -> list[Any]:
        async with vico_client.AsyncClient(server.address, timeout=60) as client:
            return list(await asyncio.gather(*[client.generate("a dog", steps=2, seed=seed) for seed in (1, 1, 2)]))

    [one], [same], [other] = asyncio.run(both())
    assert one.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("options", "error", "field"),
    [
        ({"concept": "nothing"}, "ConceptNotFound", "concept"),
        ({"concept": "damaged"}, "ConceptRejected", "concept"),
        ({"concept": "toy", "steps": 0}, "InvalidRequest", "steps"),
        ({"concept": "toy", "height": 33}, "InvalidRequest", "height"),
        ({"concept": "toy", "guidance_scale": float("nan")}, "InvalidRequest", "guidance_scale"),
    ],
)
def test_typed_errors(
    exported: Exported, server: Served, client: Any, options: dict[str, Any], error: str, field: str
) -> None:
    damaged = exported.make_concept(server.registry, "damaged")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(getattr(vico_client, error)) as caught:
        client.generate(PROMPT, **options)
    assert caught.value.field == field


def test_a_deadline(client: Any) -> None:
    # once steps have been measured, the server refuses at once what cannot be in time
    with pytest.raises((vico_client.DeadlineExceeded, vico_client.Overloaded)):
        client.generate("a dog", steps=40, timeout=0.02)


def test_a_long_prompt_warns(client: Any) -> None:
    with pytest.warns(vico_client.VicoWarning, match="75 tokens"):
        client.generate("very " * 100, steps=1)
