"""What is done with pictures before anybody gets them, through the real server, on every way to a picture."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from served import Caller, Served, all_processes, parent_of, start_server, wait_until
from streamed import stream
from tritonclient.grpc import service_pb2 as pb
from ways import TO_PICTURES, Way, outcome_on

from serving.front.wire import SERVICE
from serving.outputs.config import Claim
from serving.outputs.patterns import fold, residual
from serving.outputs.provenance import GENERATION, MADE_BY_AI
from serving.outputs.watermark import Watermark
from serving.report import StageReport
from serving.request import GenerateRequest
from serving.stages.names import EARLIER
from tests.helpers.http2 import told_to_go
from tests.helpers.signing import identity, said

if TYPE_CHECKING:
    from conftest import Exported

KEY = "a key of sixteen characters"
SIDE = 64
SMALL: dict[str, Any] = {"prompt": "refuse 0 blur 1", "num_images": 3, "steps": 3}
ASKED: dict[str, Any] = SMALL | {"height": SIDE, "width": SIDE}
CHECKER = "serving.outputs.checker_process"


@pytest.fixture(scope="module")
def graphs(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph set that the tests may write to."""
    folder = tmp_path_factory.mktemp("graphs") / "set"
    shutil.copytree(exported.folder, folder)
    return folder


@pytest.fixture(scope="module")
def watched(graphs: Path, exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("watched")
    (folder / "registry").mkdir()
    exported.make_concept(folder / "registry", "toy")
    (folder / "key").write_text(KEY)
    (folder / "key").chmod(0o600)
    signer = identity(folder)
    served = start_server(
        graphs, folder / "registry", folder / "log",
        "--safety-checker", "tests.L0.serving.checkers:by_prompt",
        "--watermark-key-file", str(folder / "key"), "--watermark-id", "513",
        "--provenance-certificate", str(signer.certificate), "--provenance-key", str(signer.key),
        "--provenance-claim", Claim.CONCEPT, "--connection-seconds", "20",
    )  # fmt: skip
    yield served
    pids = checkers(served)
    assert served.stop() == 0, served.log()
    assert pids
    assert wait_until(lambda: not pids.keys() & all_processes().keys(), 60), "checkers end with their stages"


@pytest.fixture
def call(watched: Served) -> Caller:
    return Caller(watched.address)


def checkers(served: Served) -> dict[int, int]:
    """Processes of safety checkers, and the stages that they belong to."""
    stages = set(served.stages().values())
    lines = {pid: parent_of(pid) for pid, line in all_processes().items() if CHECKER in line}
    return {pid: parent for pid, parent in lines.items() if parent in stages}


def opened(file: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file)))


def black(pixels: npt.NDArray[np.uint8]) -> bool:
    """But for what a lossy format makes of it."""
    return bool(pixels.max() <= 8)


WARNINGS = [
    {"code": "safety", "message": "picture 0: refused by the safety checker, and blank"},
    {"code": "safety", "message": "picture 1: blurred by the safety checker"},
]


FILES = ("png", "jpeg", "webp")


def check_signed(images: list[bytes], output_format: str) -> None:
    for file in images:
        [action] = said(file, output_format)["c2pa.actions"]["actions"]
        assert action["digitalSourceType"] == MADE_BY_AI
        assert b"refuse 0" not in file, "no prompt"


@pytest.mark.parametrize("output_format", FILES)
def test_files_are_checked_and_signed(call: Caller, output_format: str) -> None:
    answer = call(**ASKED, output_format=output_format)
    assert [black(opened(file)) for file in answer.images] == [True, False, False]
    assert answer.info["warnings"] == WARNINGS
    check_signed(answer.images, output_format)


@pytest.mark.parametrize("way", TO_PICTURES[1:], ids=str)
@pytest.mark.parametrize("output_format", FILES)
def test_files_of_a_stream_are_checked_and_signed(watched: Served, way: Way, output_format: str) -> None:
    with grpc.insecure_channel(watched.address) as channel:
        answer = outcome_on(way, channel, **SMALL, output_format=output_format)
    images = answer.tensors["images"]
    assert [black(opened(file)) for file in images] == [True, False, False]
    assert answer.info()["warnings"] == WARNINGS
    check_signed(images, output_format)


def test_raw_pixels_are_checked_too(call: Caller) -> None:
    images = call(**ASKED, output_format="raw").images
    assert [black(np.frombuffer(image, np.uint8)) for image in images] == [True, False, False]


def test_what_the_operator_permits_is_told(call: Caller) -> None:
    answer = call(prompt="a * toy", concept="toy", steps=1)
    assert said(answer.images[0])[GENERATION] == {"concept": answer.info["concept"]}
    assert GENERATION not in said(call(prompt="a", steps=1).images[0])


def test_a_streams_pictures_tell_what_the_operator_permits(watched: Served) -> None:
    events = stream(watched.address, prompt="a * toy", concept="toy", num_images=2, steps=1)
    concept = json.loads(events[-1].info[0])["concept"]
    images = [image for event in events for image in event.images]
    assert [said(image)[GENERATION] for image in images] == [{"concept": concept}] * 2


def test_a_stream_and_its_previews_are_checked(call: Caller, watched: Served) -> None:
    asked = SMALL | {"steps": 12}
    events = stream(watched.address, **asked)
    images = [image for event in events for image in event.images]
    unary = call(**asked).images
    assert [np.array_equal(opened(one), opened(other)) for one, other in zip(images, unary, strict=True)] == [True] * 3
    previews = [event.thumbnails() for event in events if event.preview and all(event.preview)]
    assert previews, "most of twelve arrive, however busy the machine"
    assert [[black(thumbnail) for thumbnail in one] for one in previews] == [[True, False, False]] * len(previews)


def test_streams_raw_pixels_are_checked_too(watched: Served) -> None:
    images = [image for event in stream(watched.address, **SMALL, output_format="raw") for image in event.images]
    assert [black(np.frombuffer(image, np.uint8)) for image in images] == [True, False, False]


def test_the_mark_is_in_the_pixels(call: Caller) -> None:
    image = np.frombuffer(call(**ASKED | {"prompt": "a"}, output_format="raw").images[0], np.uint8)
    again = np.frombuffer(call(**ASKED | {"prompt": "a"}, output_format="raw").images[0], np.uint8)
    assert np.array_equal(image, again)
    marked = Watermark(KEY.encode(), 513)
    strengths = marked._strengths(*fold(residual(image.reshape(SIDE, SIDE, 3))))
    assert ((strengths[1:] > 0) == marked._payload(513)).mean() > 0.9


def test_the_decoder_called_by_itself_checks_too(watched: Served, exported: Exported) -> None:
    """Past the door, with all of the server's secrets, as the stream's stage calls it."""
    request = GenerateRequest(
        prompt="refuse 0", negative_prompt="", concept="", seed=0, steps=1, sampler="ddim", guidance_scale=1.0,
        image_guidance=0.0, height=SIDE, width=SIDE, num_images=1, output_format="raw",
    )  # fmt: skip
    message = pb.ModelInferRequest(model_name="vae_decoder", id="direct")
    reports = {f"{stage}_report": StageReport(stage, 0.0).to_json().encode() for stage in EARLIER}
    for name, value in ({"request": watched.seal().close(request.to_json())} | reports).items():
        message.inputs.add(name=name, datatype="BYTES", shape=[1])
        message.raw_input_contents.append(len(value).to_bytes(4, "little") + value)
    cells = SIDE // exported.graphset.vae_factor
    message.inputs.add(name="latent", datatype="FP32", shape=[1, 4, cells, cells])
    message.raw_input_contents.append(np.ones((4, cells, cells), np.float32).tobytes())
    private = watched.private()
    with grpc.insecure_channel(private.address) as channel:
        infer = channel.unary_unary(SERVICE + "ModelInfer")
        answer = infer(message.SerializeToString(), timeout=60, metadata=private.metadata)
    response = pb.ModelInferResponse.FromString(answer)
    contents = dict(zip((tensor.name for tensor in response.outputs), response.raw_output_contents, strict=True))
    assert black(np.frombuffer(contents["images"][4:], np.uint8))


def test_a_checker_that_was_killed_comes_back_before_the_next_picture(call: Caller, watched: Served) -> None:
    killed = checkers(watched)
    assert len(killed) == 2, "of the decoder, and of the previews"
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert black(opened(call(**ASKED).images[0]))
    assert watched.stages().keys() >= {"vae_decoder"}
    assert not checkers(watched).keys() & killed.keys()


def test_what_is_written_to_the_graph_set_is_not_run_when_a_stage_comes_back(
    call: Caller, watched: Served, graphs: Path
) -> None:
    before = call(**ASKED | {"prompt": "a"}, output_format="raw").images
    for file in (graphs / "models").glob("*/1/model.py"):
        file.write_text("import os\nos.abort()\n")
    (graphs / "tokenizer.json").write_text("{}")
    shutil.rmtree(graphs / "graphs")
    stages = watched.stages()
    for stage in ("text_encoder", "vae_decoder"):
        os.kill(stages[stage], signal.SIGKILL)

        def back(stage: str = stage) -> bool:
            return watched.stages().get(stage, stages[stage]) != stages[stage] and hasattr(
                call.ask(prompt="a", steps=1), "images"
            )

        assert wait_until(back, 240), watched.log()
    assert call(**ASKED | {"prompt": "a"}, output_format="raw").images == before
    assert black(opened(call(**ASKED).images[0])), "the checker came back with its stage"


def test_connections_are_renewed(watched: Served) -> None:
    assert told_to_go(watched.address, 120)
