"""What a step costs by the way that it is taken in Triton: `python -m benchmarks.iterative_sequence --json FILE`.

Two models do no work at all, as often as a request asks: `iterative`, Triton's own in-flight batching, one `execute` a
step for the merged batch, every request scheduled anew until it is done; and `loop`, as ViCo's `unet_loop` is built,
`execute` hands requests to one thread, which steps over all of them and sends each response when it is due. Requests of
many and of few steps are sent in turns to both, a few users at once: the difference, per step, is what the way costs,
without what a request costs. Three to five minutes; every round is kept.
"""

from __future__ import annotations

import json as json_module
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import tritonclient.grpc as triton
import typer

from serving.command import HOST, free_port
from serving.installation import find_installation, make_backend_folder, server_environment
from vico.concept.atomic import write_atomically

MODELS = ("iterative", "loop")
FEW, MANY = 10, 110
CONTEXT = (2, 77, 128)
"""Travels with every request: the toy base's text context."""
USERS = (1, 8)
_START_SECONDS = 120.0
_CONFIG = """
name: "%s"
backend: "python"
max_batch_size: 8
input { name: "steps" data_type: TYPE_INT32 dims: [ 1 ] }
input { name: "context" data_type: TYPE_FP32 dims: [ 2, 77, 128 ] }
output { name: "done" data_type: TYPE_INT32 dims: [ 1 ] }
instance_group { count: 1 kind: KIND_CPU }
"""
_SEQUENCE = """
sequence_batching {
  iterative_sequence: true
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 64 }
  control_input { name: "id" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
}
model_transaction_policy { decoupled: false }
"""
_ITERATIVE = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.left = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            key = int(pb.get_input_tensor_by_name(request, "id").as_numpy().ravel()[0])
            if key not in self.left:
                self.left[key] = int(pb.get_input_tensor_by_name(request, "steps").as_numpy().ravel()[0])
            self.left[key] -= 1
            if self.left[key]:
                request.set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                responses.append(None)
            else:
                del self.left[key]
                responses.append(pb.InferenceResponse([pb.Tensor("done", np.ones((1, 1), np.int32))]))
        return responses
"""
_LOOP = """
import threading
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        self.wake = threading.Condition()
        self.new = []
        self.closing = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def execute(self, requests):
        with self.wake:
            for request in requests:
                steps = int(np.array(pb.get_input_tensor_by_name(request, "steps").as_numpy()).ravel()[0])
                context = np.array(pb.get_input_tensor_by_name(request, "context").as_numpy())
                self.new.append([steps, request.get_response_sender(), context])
            self.wake.notify()

    def run(self):
        running = []
        while not self.closing:
            with self.wake:
                while not (running or self.new or self.closing):
                    self.wake.wait()
                running, self.new = running + self.new, []
            for lane in running:
                lane[0] -= 1
            for lane in [lane for lane in running if lane[0] == 0]:
                response = pb.InferenceResponse([pb.Tensor("done", np.ones((1, 1), np.int32))])
                lane[1].send(response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            running = [lane for lane in running if lane[0]]

    def finalize(self):
        with self.wake:
            self.closing = True
            self.wake.notify()
        self.thread.join()
"""


@contextmanager
def _served() -> Iterator[str]:
    """The address of a Triton with the two models."""
    installation, port = find_installation(), free_port()
    with tempfile.TemporaryDirectory(prefix="vico-iterative-") as text:
        folder = Path(text)
        for name, code, more in (("iterative", _ITERATIVE, _SEQUENCE), ("loop", _LOOP, "")):
            (folder / "models" / name / "1").mkdir(parents=True)
            (folder / "models" / name / "1" / "model.py").write_text(code)
            (folder / "models" / name / "config.pbtxt").write_text(_CONFIG % name + more)
        command = [
            str(installation.server), f"--model-repository={folder / 'models'}",
            f"--backend-directory={make_backend_folder(installation, folder / 'backends')}",
            f"--backend-config=python,shm-region-prefix-name=vico_{os.getpid()}_", "--disable-auto-complete-config",
            "--allow-http=false", "--allow-metrics=false", f"--grpc-address={HOST}", f"--grpc-port={port}",
        ]  # fmt: skip
        log = (folder / "log").open("w")
        process = subprocess.Popen(
            command, env=server_environment(installation, folder / "lib"), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _await(f"{HOST}:{port}", process, folder / "log")
            yield f"{HOST}:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            log.close()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    client, deadline = triton.InferenceServerClient(address), time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if all(client.is_model_ready(name) for name in MODELS):
                return
        except triton.InferenceServerException:
            pass
        time.sleep(0.2)
    raise SystemExit("Triton did not start:\n" + log.read_text()[-3000:])


def _seconds(address: str, model: str, steps: int, users: int, requests: int) -> float:
    """Of `requests` requests of each of so many users at once."""

    def ask(_user: int) -> None:
        client = triton.InferenceServerClient(address)
        inputs = [triton.InferInput("steps", [1, 1], "INT32"), triton.InferInput("context", [1, *CONTEXT], "FP32")]
        inputs[0].set_data_from_numpy(np.array([[steps]], np.int32))
        inputs[1].set_data_from_numpy(np.zeros((1, *CONTEXT), np.float32))
        for _ in range(requests):
            client.infer(model, inputs, client_timeout=600)

    with ThreadPoolExecutor(users) as pool:
        began = time.perf_counter()
        list(pool.map(ask, range(users)))
        return time.perf_counter() - began


def measure(address: str, rounds: int, requests: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds that one step takes, by users and model, one figure a round."""
    for model in MODELS:
        _seconds(address, model, FEW, 1, 3)
    taken: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for users in USERS:
            for model in MODELS if number % 2 == 0 else MODELS[::-1]:
                many, few = (_seconds(address, model, steps, users, requests) for steps in (MANY, FEW))
                per_step = 1e3 * (many - few) / (requests * (MANY - FEW))
                taken.setdefault(str(users), {}).setdefault(model, []).append(per_step)
    return taken


def main(
    json: Annotated[Path, typer.Option("--json", help="File for the figures.")],
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    requests: Annotated[int, typer.Option(min=1, help="Of each user, in one side of a round.")] = 20,
) -> None:
    """Print milliseconds per step of both, for one user and for eight."""
    with _served() as address:
        taken = measure(address, rounds, requests)
    figures: dict[str, Any] = {"rounds": taken, "cores": os.cpu_count()}
    for users, models in taken.items():
        for model, values in models.items():
            figures[f"{model}_ms_per_step_{users}"] = median(values)
            print(f"{users} at once, {model:10} {median(values):7.3f} ms a step ({min(values):.3f}–{max(values):.3f})")
    write_atomically(json, json_module.dumps(figures, indent=1).encode() + b"\n")


if __name__ == "__main__":
    typer.run(main)
