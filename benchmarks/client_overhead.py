"""What `vico_client` adds to a request over tritonclient alone: `python -m benchmarks.client_overhead`.

Both ask the same fake Triton (gRPC, in a process of its own) for the same picture over one connection each, in turns of
random order, so that what else the machine does hits both alike. The claim is about the difference, per pair.
Both decode `raw` pictures to numpy or PIL alike; the connection, HTTP/2 and the fake's answer are in both figures.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import grpc
import numpy as np
import typer
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from vico_client import Client

PROMPT, CONCEPT, STEPS, SEED = "a photo of a * on grass", "toy", 25, 7
LIMIT_MILLISECONDS = 2.0
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Case:
    """Sizes of a request and of its answer."""

    name: str
    photo_bytes: int
    side: int
    """Pixels."""


@dataclass(frozen=True)
class Figures:
    """Milliseconds; three quantiles each: 5 %, 50 %, 95 %."""

    case: Case
    pairs: int
    tritonclient: tuple[float, ...]
    vico_client: tuple[float, ...]
    difference: tuple[float, ...]
    """Of pairs: `vico_client` − `tritonclient`."""
    processor_difference: tuple[float, ...]
    """The same of the client's processor time, which neighbours on the machine disturb less."""
    median_interval: tuple[float, float]
    """95 % bootstrap interval of the median difference."""


CASES = (Case("plain, 64 px", 0, 64), Case("plain, 512 px", 0, 512), Case("photo of 4 MiB, 512 px", 4 * 2**20, 512))


class _Fake(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers every request with one picture made beforehand."""

    def __init__(self, side: int) -> None:
        info = {
            "seed": SEED, "preset": "quality", "steps": STEPS, "sampler": "dpmpp_2m", "height": side, "width": side,
            "concept": "", "warnings": [], "timings": {"unet_loop": 1.0}, "batch": None,
        }  # fmt: skip
        self._answer = service_pb2.ModelInferResponse(model_name="vico", model_version="1")
        for name, content in (("images", bytes(side * side * 3)), ("info", json.dumps(info).encode())):
            self._answer.outputs.add(name=name, datatype="BYTES", shape=[1])
            self._answer.raw_output_contents.append(struct.pack("<I", len(content)) + content)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return self._answer


def _serve(side: int, pipe: Connection) -> None:
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Fake(side), server)
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    pipe.recv()
    server.stop(None).wait()


def _raw(address: str, photo: bytes) -> Callable[[], Any]:
    """The same request as a careful user of tritonclient writes it."""
    client = InferenceServerClient(address)
    outputs = [InferRequestedOutput("images"), InferRequestedOutput("info")]

    def ask() -> Image.Image:
        given: dict[str, tuple[str, Any]] = {
            "prompt": ("BYTES", np.array([PROMPT.encode()], np.object_)),
            "concept": ("BYTES", np.array([CONCEPT.encode()], np.object_)),
            "seed": ("INT64", np.array([SEED], np.int64)),
            "steps": ("INT32", np.array([STEPS], np.int32)),
            "output_format": ("BYTES", np.array([b"raw"], np.object_)),
        }
        if photo:
            given["reference_image"] = ("BYTES", np.array([photo], np.object_))
        inputs = [InferInput(name, [1], datatype) for name, (datatype, _) in given.items()]
        for tensor, (_, array) in zip(inputs, given.values(), strict=True):
            tensor.set_data_from_numpy(array)
        answer = client.infer("vico", inputs, outputs=outputs, request_id="r1", client_timeout=60.0)
        images, told = answer.as_numpy("images"), answer.as_numpy("info")
        info = json.loads(told[0])
        return Image.fromarray(np.frombuffer(images[0], np.uint8).reshape(info["height"], info["width"], 3))

    return ask


def _ours(address: str, photo: bytes) -> Callable[[], Any]:
    client = Client(address, timeout=60)
    options: dict[str, Any] = {"concept": CONCEPT, "seed": SEED, "steps": STEPS, "output_format": "raw"}
    if photo:
        options["reference_image"] = photo
    return lambda: client.generate(PROMPT, request_id="r1", **options)[0]


def measure(case: Case, pairs: int, warmup: int = 20) -> Figures:
    """Both clients against one fake server, `pairs` times each."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(case.side, theirs), daemon=True)
    server.start()
    address, photo = f"127.0.0.1:{ours.recv()}", random.Random(0).randbytes(case.photo_bytes)
    asks = {"tritonclient": _raw(address, photo), "vico_client": _ours(address, photo)}
    assert asks["tritonclient"]().tobytes() == asks["vico_client"]().tobytes()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
    for number in range(warmup + pairs):
        for name in random.sample(list(asks), 2):
            begun = time.perf_counter(), time.process_time()
            asks[name]()
            if number >= warmup:
                seconds[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    ours.send(None)
    server.join(10)
    return _figures(case, {name: 1e3 * np.array(values) for name, values in seconds.items()})


def _figures(case: Case, milliseconds: dict[str, Any]) -> Figures:
    """milliseconds: by client, [pairs, 2], by the clock and of the processor."""
    difference, processor = (milliseconds["vico_client"] - milliseconds["tritonclient"]).T
    draws = np.random.default_rng(0).choice(difference, (2000, len(difference)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return Figures(
        case,
        len(difference),
        _quantiles(milliseconds["tritonclient"][:, 0]),
        _quantiles(milliseconds["vico_client"][:, 0]),
        _quantiles(difference),
        _quantiles(processor),
        (float(low), float(high)),
    )


def _quantiles(values: Any) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(values, QUANTILES)))


def main(
    pairs: Annotated[int, typer.Option(min=10, help="Requests of each client, for each case.")] = 500,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Print milliseconds per request (5 %, median, 95 %) and whether the median difference is within 2 ms."""
    made = [measure(case, pairs) for case in CASES]
    for figures in made:
        print(f"{figures.case.name}: {figures.pairs} pairs")
        for name in ("tritonclient", "vico_client", "difference", "processor_difference"):
            print(f"  {name:20}" + "".join(f"{value:10.3f}" for value in getattr(figures, name)) + "  ms")
        low, high = figures.median_interval
        verdict = "within" if high <= LIMIT_MILLISECONDS else "not shown to be within"
        print(f"  median difference {low:.3f} to {high:.3f} ms (95 %): {verdict} {LIMIT_MILLISECONDS:g} ms")
    if out is not None:
        out.write_text(json.dumps([asdict(figures) for figures in made], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
