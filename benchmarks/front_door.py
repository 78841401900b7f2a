"""What the front door costs: the same refused request straight to Triton and through the door, in turns.

`python -m benchmarks.front_door --graphs GRAPHS [--calls N]`: the request is one that the first stage refuses at once,
so that nothing but the way there and back is measured. Prints medians in milliseconds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import grpc
import typer
from tritonclient.grpc import service_pb2 as pb

from serving.caller import TENSOR, Caller
from serving.config import ServingConfig
from serving.front.config import FrontConfig
from serving.front.process import FrontProcess
from serving.front.wire import SERVICE
from serving.launcher import Server
from serving.seal import Seal

WARM_UP = 50


def main(
    graphs: Annotated[Path, typer.Option(help="Folder made by `vico export`.")],
    calls: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 500,
) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as registry:
        config = ServingConfig(graphs, Path(registry))
        with Server(config, metrics_port=0) as server:
            server.start(600.0)
            seal = Seal(server.config.secret)
            door = FrontProcess(FrontConfig(server.private, seal.secret))
            try:
                door.serve()
                direct = _asker(server.private.address, _request(seal), server.private.metadata)
                through = _asker(door.address, _request(None), ())
                times = [(direct(), through()) for _ in range(WARM_UP + calls)][WARM_UP:]
            finally:
                door.kill()
    straight, longer = (median(column) * 1e3 for column in zip(*times, strict=True))
    added = median(b - a for a, b in times) * 1e3
    typer.echo(f"direct {straight:.2f} ms, through the door {longer:.2f} ms, added {added:.2f} ms (medians of {calls})")


def _request(seal: Seal | None) -> bytes:
    request = pb.ModelInferRequest(model_name="vico")
    texts = {"prompt": b""} | ({TENSOR: Caller("a", "a", (), "a").sealed(seal)} if seal else {})
    for name, value in texts.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(value).to_bytes(4, "little") + value)
    message: bytes = request.SerializeToString()
    return message


def _asker(address: str, message: bytes, metadata: Any) -> Any:
    infer = grpc.insecure_channel(address).unary_unary(SERVICE + "ModelInfer")

    def ask() -> float:
        began = time.perf_counter()
        try:
            infer(message, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            if "prompt: 0 characters" not in error.details():
                raise
        return time.perf_counter() - began

    return ask


if __name__ == "__main__":
    typer.run(main)
