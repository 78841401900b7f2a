"""Start `vico serve` as a process of its own, and call it over gRPC without any client of ours."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from serving.config import VARIABLE
from serving.front.upstream import control_request
from serving.front.wire import SERVICE
from serving.private import HEADER, Private
from serving.processes import stage_processes
from serving.seal import Seal
from serving.stages.names import CONTROL

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
_COMMAND = """
import sys, typer
from serving.cli import serve
from vico.errors import VicoError
try:
    typer.run(serve)
except VicoError as error:
    sys.exit(f"error {error}")
"""
_DTYPES: dict[str, type[np.generic]] = {
    "seed": np.int64, "steps": np.int32, "height": np.int32, "width": np.int32, "num_images": np.int32,
    "priority": np.int32, "guidance_scale": np.float32, "image_guidance": np.float32,
}  # fmt: skip


@dataclass
class Served:
    """A running `vico serve`."""

    process: subprocess.Popen[str]
    address: str
    registry: Path
    log_file: Path
    metrics: str = ""
    """host:port of the page for Prometheus."""
    admin: str = ""
    """host:port of the admin service, if there is one."""

    @property
    def pid(self) -> int:
        """Of the launcher."""
        return self.process.pid

    def processes(self) -> dict[int, str]:
        """Command lines of tritonserver and its stubs, by process id."""
        return {pid: line for pid, line in all_processes().items() if f"vico-serve-{self.pid}-" in line}

    def front(self) -> int:
        """Process id of the front door."""
        [pid] = [pid for pid, line in all_processes().items() if "serving.front" in line and parent_of(pid) == self.pid]
        return pid

    def stages(self) -> dict[str, int]:
        """Process ids of the Python stubs by stage."""
        return stage_processes(self.triton())

    def triton(self) -> int:
        """Process id of tritonserver."""
        [pid] = [pid for pid, line in self.processes().items() if "/bin/tritonserver" in line]
        return pid

    def private(self) -> Private:
        """The way past the front door, as no client can know it: this user may read the server's command line."""
        line = self.processes()[self.triton()]
        socket = re.search(r"--grpc-address=unix:(\S+)", line)
        secret = re.search(rf":{HEADER}=(\S+)", line)
        assert socket
        assert secret
        return Private(socket[1], secret[1])

    def seal(self) -> Seal:
        """Of this server, from its environment."""
        variables = Path(f"/proc/{self.triton()}/environ").read_text().split("\0")
        [text] = [line.partition("=")[2] for line in variables if line.startswith(f"{VARIABLE}=")]
        return Seal(json.loads(text)["secret"])

    def triton_metrics(self) -> str:
        """host:port of Triton's own page of metrics, from its command line."""
        [port] = re.findall(r"--metrics-port=(\d+)", self.processes()[self.triton()])
        return f"127.0.0.1:{port}"

    def regions(self) -> list[Path]:
        """The shared memory of this server."""
        return list(SHARED_MEMORY.glob(f"vico_{self.pid}_*"))

    def folders(self) -> list[Path]:
        """The private folders of this server."""
        return list(Path(tempfile.gettempdir()).glob(f"vico-serve-{self.pid}-*"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(120)

    def log(self) -> str:
        """What the server has said so far."""
        return self.log_file.read_text()


class Loop:
    """How far the loop is, by its own word."""

    def __init__(self, server: Served) -> None:
        self._private = server.private()
        self._ask = control_request(server.seal().of(CONTROL), {})
        self._channel = grpc.insecure_channel(self._private.address)

    def told(self) -> dict[str, int]:
        infer = self._channel.unary_unary(SERVICE + "ModelInfer")
        answer = infer(self._ask, timeout=60, metadata=self._private.metadata)
        told: dict[str, int] = json.loads(pb.ModelInferResponse.FromString(answer).raw_output_contents[0][4:])
        return told

    def pictures(self) -> int:
        return self.told()["pictures"]


def spawn(graphs: Path, registry: Path | str, log_file: Path, *options: str) -> subprocess.Popen[str]:
    """Start the command without waiting; standard output is a pipe, the log goes to a file."""
    command = [sys.executable, "-c", _COMMAND, "--graphs", str(graphs), "--registry", str(registry)]
    with log_file.open("w") as log:
        return subprocess.Popen(
            [*command, "--grpc-port", "0", "--metrics-port", "0", *options],
            stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def start_server(graphs: Path, registry: Path | str, log_file: Path, *options: str) -> Served:
    """Start the command and wait for its line `ready: gRPC host:port, metrics host:port[, admin host:port]`."""
    process = spawn(graphs, registry, log_file, *options)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"ready: gRPC (\S+), metrics ([^\s,]+)(?:, admin (\S+))?", line)
    assert found, f"{line!r}\n{log_file.read_text()}"
    return Served(process, found[1], Path(registry), log_file, found[2], found[3] or "")


@contextmanager
def own_server(graphs: Path, folder: Path, *options: str) -> Iterator[Served]:
    """A server with an empty registry below `folder`, for those who break it; when it stops nothing may be left."""
    (folder / "registry").mkdir()
    served = start_server(graphs, folder / "registry", folder / "log", *options)
    yield served
    assert served.stop() == 0, served.log()
    assert not served.regions()
    assert not served.folders()
    assert not served.processes()


def all_processes() -> dict[int, str]:
    """Command lines of all live processes by id."""
    lines = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return lines


def parent_of(pid: int) -> int:
    """Parent of a process; 0 = it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def wait_until(condition: Any, seconds: float = 20.0) -> bool:
    """Whether `condition()` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@dataclass(frozen=True)
class Answer:
    """A successful response."""

    images: list[bytes]
    info: dict[str, Any]

    def pixels(self) -> npt.NDArray[np.uint8]:
        """[n, H, W, 3]"""
        return np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in self.images])


@dataclass(frozen=True)
class Refusal:
    """A failed response."""

    status: str
    message: str


@dataclass
class Caller:
    """Calls the model `vico`."""

    address: str
    headers: dict[str, str] | None = None
    client: triton.InferenceServerClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = triton.InferenceServerClient(self.address)

    def __call__(self, **fields: Any) -> Answer:
        """Ask for pictures; a refusal fails the test."""
        answer = self.ask(**fields)
        assert isinstance(answer, Answer), answer
        return answer

    def refused(self, **fields: Any) -> Refusal:
        """Ask for what must be refused."""
        answer = self.ask(**fields)
        assert isinstance(answer, Refusal), answer
        return answer

    def ask(self, **fields: Any) -> Answer | Refusal:
        """Ask; an array is sent as it is, anything else as the one element of the field's type."""
        return self.send("vico", {name: _array(name, value) for name, value in fields.items()})

    def send(self, model: str, tensors: dict[str, npt.NDArray[Any]], request_id: str = "") -> Answer | Refusal:
        """Call any model with any tensors."""
        inputs = []
        for name, array in tensors.items():
            inputs.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        try:
            result = self.client.infer(model, inputs, request_id=request_id, headers=self.headers)
        except InferenceServerException as error:
            return Refusal(str(error.status()).removeprefix("StatusCode."), error.message())
        images, info = result.as_numpy("images"), result.as_numpy("info")
        assert images is not None
        assert info is not None
        return Answer(list(images), json.loads(info[0]))


def _array(name: str, value: Any) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if name in _DTYPES:
        return np.array([value], _DTYPES[name])
    array: npt.NDArray[np.object_] = np.empty(1, dtype=object)
    array[0] = value.encode() if isinstance(value, str) else value
    return array
