"""`vico_stream` through the real server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from served import Answer, Caller, Loop, Refusal, Served, wait_until
from streamed import Event, Stream, stream, stream_body
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import SERVICE

REQUEST: dict[str, Any] = {"prompt": "a dog", "steps": 12, "num_images": 3, "seed": 5}
LONG: dict[str, Any] = {"prompt": "a dog", "steps": 100, "num_images": 3}
_CHILD = """
import sys
import grpc
address, body, count = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
channels = [grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(count)]
calls = [c.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([body])) for c in channels]
for call in calls:
    next(call)
print("under way", flush=True)
for call in calls:
    list(call)
"""


@pytest.fixture
def loop(server: Served) -> Loop:
    loop = Loop(server)
    assert wait_until(lambda: loop.pictures() == 0, 120), "another test's lanes"
    return loop


def pictures(events: list[Event]) -> list[bytes]:
    return [image for event in events for image in event.images]


def check_order(events: list[Event], steps: int, count: int, every: int = 1) -> None:
    """Progress that rises, then the pictures in order, then the end with the info."""
    kinds = [event.kind for event in events]
    shown = kinds.index("image")
    assert kinds == ["progress"] * shown + ["image"] * count + ["end"]
    progress = [event.event for event in events[:shown]]
    assert shown <= steps // every
    done = [sum(event["done"]) for event in progress]
    assert done == sorted(set(done)), "each tells more than the one before"
    for event, response in zip(progress, events, strict=False):
        assert event["steps"] == steps
        assert event["step"] == max(event["done"])
        assert len(event["done"]) == len(response.preview) == count
        assert [file == b"" for file in response.preview] == [taken == 0 for taken in event["done"]]
        assert response.images == response.info == []
    assert [event.event["index"] for event in events[shown:-1]] == list(range(count))
    assert [len(event.info) for event in events] == [0] * (len(events) - 1) + [1]


def test_a_stream_shows_progress_and_ends_with_the_pictures_of_the_unary_call(server: Served, call: Caller) -> None:
    for fields in (REQUEST, REQUEST | {"prompt": "a photo of a *", "concept": "toy", "sampler": "unipc"}):
        alone = call(**fields)
        events = stream(server.address, **fields)
        check_order(events, 12, 3)
        assert pictures(events) == alone.images, "bit for bit"
        info = json.loads(events[-1].info[0])
        assert info.keys() == alone.info.keys()
        assert set(info["timings"]) == set(alone.info["timings"])
        assert {name: info[name] for name in ("seed", "steps", "concept")} == {
            name: alone.info[name] for name in ("seed", "steps", "concept")
        }
        progress = [event for event in events if event.kind == "progress"]
        assert len(progress) >= 6, "most of them arrive, however busy the machine"
        assert all(event.event["seconds_left"] >= 0 for event in progress), "steps were measured before"
        assert progress[-1].event["seconds_left"] < progress[0].event["seconds_left"]
        assert {thumbnail.shape for event in progress for thumbnail in event.thumbnails()} == {(64, 64, 3)}


@pytest.mark.parametrize(("every", "most"), [(5, 2), (12, 1), (13, 0), (100, 0), (0, 0)])
def test_progress_every_so_many_steps(server: Served, every: int, most: int) -> None:
    events = stream(server.address, **REQUEST | {"progress_every": every})
    seen = [event.event["step"] for event in events if event.kind == "progress"]
    assert len(seen) <= most
    assert all(step % every == 0 for step in seen)
    assert len(pictures(events)) == 3


def test_a_wrong_request_ends_the_stream_with_the_status_that_it_deserves(server: Served) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"prompt": "a", "steps": 101}, "INVALID_ARGUMENT", "steps: 101; accepted: "),
        ({"prompt": "a", "progress_every": -1}, "INVALID_ARGUMENT", "progress_every: -1; accepted: "),
        ({"prompt": "a *", "concept": "nobody"}, "NOT_FOUND", "concept: no concept 'nobody'; accepted: "),
        ({"prompt": "a", "num_images": 8, "steps": 100, "timeout": 1.0}, "UNAVAILABLE", "timeout: "),
    ]
    stream(server.address, **REQUEST)
    for fields, status, message in wrong:
        asked = Stream(server.address, **fields)
        with pytest.raises(grpc.RpcError) as caught:
            list(asked)
        asked.close()
        if "timeout" in fields:
            # whoever notices first
            assert caught.value.code().name in {status, "DEADLINE_EXCEEDED"}, caught.value
            continue
        assert caught.value.code().name == status, caught.value
        assert caught.value.details().startswith(message)
    assert len(pictures(stream(server.address, **REQUEST))) == 3


def test_a_refusal_of_the_loop_keeps_its_status_across_models(server: Served, loop: Loop) -> None:
    """A deadline that cannot be met, sent as Triton's own: gRPC's is longer."""
    message = pb.ModelInferRequest.FromString(stream_body(**LONG))
    message.parameters["timeout"].int64_param = 300_000
    with grpc.insecure_channel(server.address) as channel:
        ask = channel.stream_stream(SERVICE + "ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as caught:
            list(ask(iter([message.SerializeToString()]), timeout=120))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details().startswith("timeout: ")
    assert caught.value.details().endswith(("[RESOURCE_EXHAUSTED]", "[DEADLINE_EXCEEDED]"))
    assert wait_until(lambda: loop.pictures() == 0, 60)


def test_a_deadline_that_passes_mid_stream_ends_it_and_frees_the_lanes(server: Served, loop: Loop) -> None:
    asked = Stream(server.address, timeout=None, **LONG)
    began = time.monotonic()
    next(iter(asked))
    first = time.monotonic() - began
    asked.call.cancel()
    asked.close()
    late = Stream(server.address, timeout=2 * first + 1.0, **LONG)
    with pytest.raises(grpc.RpcError) as caught:
        list(late)
    assert caught.value.code().name in {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert wait_until(lambda: loop.pictures() == 0, 60)
    late.close()


def test_the_unary_method_points_to_the_stream(server: Served) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + "ModelInfer")(stream_body(prompt="a"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "method: one answer to a stream; accepted: ModelStreamInfer"


@pytest.mark.parametrize("how", ["cancels", "vanishes"])
def test_a_client_that_leaves_mid_stream_frees_its_lanes(server: Served, call: Caller, loop: Loop, how: str) -> None:
    alone = call(prompt="a cat", steps=60, seed=9)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(Caller(server.address).ask, prompt="a cat", steps=60, seed=9)
        asked = Stream(server.address, timeout=None, **LONG)
        events = iter(asked)
        assert next(events).kind == "progress"
        before = loop.told()["steps"]
        if how == "cancels":
            asked.call.cancel()
        asked.close()
        assert wait_until(lambda: loop.pictures() <= 1, 60)
        freed = loop.told()["steps"] - before
        print(how, "freed after", freed, "steps, the polling included")
        assert freed < 100
        other = beside.result(120)
    assert isinstance(other, Answer), other
    assert np.abs(other.pixels().astype(int) - alone.pixels().astype(int)).max() <= 1


def killed_mid_stream(server: Served, loop: Loop, clients: int, each: int = 5) -> None:
    """Each round one process with several streams is killed with SIGKILL, without a word to the server."""
    body = stream_body(**LONG | {"num_images": 1}).hex()
    for _ in range(clients // each):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, server.address, body, str(each)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "under way\n"
        assert loop.pictures() > 0, "the test means nothing"
        child.kill()
        assert child.wait() == -9
        assert wait_until(lambda: loop.pictures() == 0, 60)


def test_ten_clients_killed_mid_stream_leave_no_lane(server: Served, loop: Loop) -> None:
    killed_mid_stream(server, loop, 10)
    check_order(stream(server.address, **REQUEST), 12, 3)


@pytest.mark.slow
def test_a_hundred_clients_killed_mid_stream_leave_no_lane(server: Served, loop: Loop) -> None:
    killed_mid_stream(server, loop, 100)
    check_order(stream(server.address, **REQUEST), 12, 3)


def test_streams_and_unary_calls_share_the_batch_and_keep_their_pictures(server: Served, call: Caller) -> None:
    kinds: list[dict[str, Any]] = [
        {"prompt": "a dog", "steps": 30, "seed": 1},
        {"prompt": "a photo of a *", "concept": "toy", "steps": 25, "seed": 2, "num_images": 2},
        {"prompt": "a cat", "steps": 20, "seed": 3, "guidance_scale": 1.0},
        {"prompt": "a cat", "steps": 9, "seed": 4, "output_format": "raw"},
    ]
    alone = [call(**fields).images for fields in kinds]

    def streamed_images(fields: dict[str, Any]) -> list[bytes]:
        return pictures(stream(server.address, **fields))

    def unary_images(fields: dict[str, Any]) -> list[bytes]:
        return Caller(server.address)(**fields).images

    work = [partial(ask, fields) for fields in kinds for ask in (streamed_images, unary_images)]
    with ThreadPoolExecutor(len(work)) as pool:
        found = [future.result(120) for future in [pool.submit(one) for one in work]]
    for index, images in enumerate(alone):
        for one in found[2 * index : 2 * index + 2]:
            assert len(one) == len(images)
            assert one == images or _close(one, images, kinds[index])


def _close(one: list[bytes], other: list[bytes], fields: dict[str, Any]) -> bool:
    """In another batch the runtime may sum in another order: at most one level apart."""

    def levels(files: list[bytes]) -> npt.NDArray[np.int64]:
        if fields.get("output_format") == "raw":
            return np.stack([np.frombuffer(file, np.uint8) for file in files]).astype(np.int64)
        return Answer(files, {}).pixels().astype(np.int64)

    return int(np.abs(levels(one) - levels(other)).max()) <= 1


def test_a_client_that_does_not_read_holds_up_nobody(server: Served, call: Caller, loop: Loop) -> None:
    """It gets its pictures all the same, and the latest progress before them, when it reads at last."""
    asked = Stream(server.address, **LONG | {"num_images": 2})
    assert wait_until(lambda: loop.pictures() == 2, 60)
    for seed in range(3):
        assert isinstance(call.ask(prompt="a", steps=4, seed=seed), Answer)
    assert wait_until(lambda: loop.pictures() == 0, 120), "the loop waits for no reader"
    events = list(asked)
    asked.close()
    check_order(events, 100, 2)


def test_more_streams_than_there_is_room_for_are_refused_and_the_others_served(server: Served, loop: Loop) -> None:
    def ask(seed: int) -> list[Event] | Refusal:
        try:
            return stream(server.address, prompt="a", steps=2, num_images=8, seed=seed)
        except grpc.RpcError as error:
            return Refusal(error.code().name, error.details())

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(ask, range(24)))
    refused = [one for one in found if isinstance(one, Refusal)]
    for one in refused:
        assert one.status == "UNAVAILABLE"
        assert one.message.endswith("[RESOURCE_EXHAUSTED]"), one.message
    served = [one for one in found if not isinstance(one, Refusal)]
    assert served
    assert all(len(pictures(events)) == 8 for events in served)
    assert wait_until(lambda: loop.pictures() == 0, 60)


def test_the_private_socket_is_in_the_servers_own_folder(server: Served) -> None:
    [folder] = server.folders()
    assert (folder / "progress").is_socket()
    assert Path(folder).stat().st_mode & 0o077 == 0
