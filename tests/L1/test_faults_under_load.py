"""Anything breaks at any time while users of the SDK ask: each test with the count of its faults.

What every one of them must leave standing: no request is lost without an error after which the SDK sends it again, no
wrong picture, no wait beyond the deadline, no path or internal name in any message. The long counts: `-m slow`.
"""

from __future__ import annotations

import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import vico_client
from patient import Known, Patient, alike, known
from served import Served, own_server, wait_until

from vico.concept import read_package

if TYPE_CHECKING:
    from conftest import Exported

PROMPT = "a photo of a *"
STAGES = ("text_encoder", "image_encoder", "unet_loop", "vae_decoder", "picture_stream")
LONG = 600.0
"""Seconds within which a busy machine has mended anything."""


def counts(few: int, many: int) -> pytest.MarkDecorator:
    """Of faults: in CI, and by `-m slow`."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def served(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of this module's own, with one slot fewer than there are concepts."""
    with own_server(exported.folder, tmp_path_factory.mktemp("faults"), "--slots", "2") as served:
        add_toys(exported, served)
        yield served


def add_toys(exported: Exported, served: Served) -> None:
    for number in range(3):
        exported.make_concept(served.registry, f"toy-{number}", seed=number)


def client_of(served: Served) -> vico_client.Client:
    return vico_client.Client(served.address, timeout=LONG)


def mixed(served: Served) -> list[Known]:
    """Requests with and without a concept, short and long, of more concepts than there are slots."""
    with client_of(served) as client:
        plain = known(client, prompt="a dog", steps=12, seed=1)
        own = [known(client, prompt=PROMPT, concept=f"toy-{k}", steps=6, seed=k) for k in range(3)]
    return [plain, *own]


def faults(served: Served) -> dict[str, Callable[[], None]]:
    """Everything that can be killed or frozen, by what is done to whom."""
    found: dict[str, Callable[[], None]] = {}
    for number, how in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "frozen")):
        found[f"front {how}"] = lambda number=number: os.kill(served.front(), number)  # type: ignore[misc]
        found[f"server {how}"] = lambda number=number: os.kill(served.triton(), number)  # type: ignore[misc]
        for stage in STAGES:
            found[f"{stage} {how}"] = lambda stage=stage, number=number: os.kill(served.stages()[stage], number)  # type: ignore[misc]
    return found


def whole(served: Served) -> bool:
    """Whether there is everything that could be broken."""
    try:
        return served.front() > 0 and set(STAGES) <= served.stages().keys()
    except ValueError:  # a process is just not there
        return False


@counts(2, 28)
def test_faults_in_any_order(served: Served, count: int) -> None:
    """Of all of them, each as often as another; the next one comes as soon as answers come again."""
    able = faults(served)
    chosen = random.Random(count)
    deck = [name for _ in range(-(-count // len(able))) for name in chosen.sample(sorted(able), len(able))]
    with Patient(served.address, mixed(served)) as patient:
        for name in deck[:count]:
            assert patient.goes_on(seconds=LONG), (name, patient.wrong, served.log())
            assert wait_until(lambda: whole(served), LONG), served.log()
            able[name]()
        assert patient.goes_on(12, seconds=LONG), (patient.wrong, served.log())
    print(count, "faults:", dict(patient.outcomes))
    assert not patient.wrong


@pytest.mark.parametrize("stage", ["picture_stream", pytest.param("unet_loop", marks=pytest.mark.slow)])
def test_a_stage_and_the_front_door_at_once(served: Served, stage: str) -> None:
    """The door dies while the supervisor mends the stage, or the other way round."""
    able = faults(served)
    assert wait_until(lambda: whole(served), LONG), served.log()
    door, old = served.front(), served.stages()[stage]
    with Patient(served.address, mixed(served)) as patient:
        able[f"{stage} killed"]()
        able["front killed"]()
        assert patient.goes_on(12, seconds=LONG), (patient.wrong, served.log())
        assert wait_until(lambda: whole(served), LONG), served.log()
    assert served.front() != door
    assert served.stages()[stage] != old
    assert not patient.wrong


@counts(16, 300)
def test_a_live_concept_is_replaced_torn_and_altered(
    exported: Exported, served: Served, tmp_path: Path, count: int
) -> None:
    """A → B → A, with a torn or an altered file in between: every picture is of the version that it names."""
    versions = [_version(exported, tmp_path, k) for k in range(2)]
    live = served.registry / "live.safetensors"
    right: dict[str, Any] = {}
    request = vico_client.GenerateRequest(PROMPT, concept="live", steps=4, seed=3)
    with client_of(served) as client:
        for content in versions:
            live.write_bytes(content)
            result = client.send(request)
            right[result.info.concept] = _only(result)

    def is_right(result: vico_client.GenerateResult) -> bool:
        return result.info.concept in right and alike(_only(result), right[result.info.concept])

    with Patient(served.address, [Known(request, is_right)]) as patient:
        for number in range(count):
            content = versions[number % 2]
            whole = tmp_path / "whole"
            whole.write_bytes(content)
            whole.replace(live)
            assert patient.goes_on(1), served.log()
            # by somebody who knows nothing of atomic writes
            live.write_bytes(content[: len(content) * (number % 7 + 1) // 8] if number % 3 else _altered(content))
            assert patient.goes_on(1), served.log()
    print(count, "replaced and torn:", dict(patient.outcomes))
    assert not patient.wrong
    assert set(patient.outcomes) == {"answered"}, "a bad file takes nothing away"
    live.unlink()


@counts(2, 20)
def test_a_disk_without_room_for_a_new_concept(exported: Exported, served: Served, tmp_path: Path, count: int) -> None:
    """The kernel refuses to write the first stage's copy; what is loaded goes on, and the next try succeeds."""
    cases = mixed(served)
    with Patient(served.address, cases) as patient, client_of(served) as client:
        for number in range(count):
            name = f"new-{number}"
            pid = served.stages()["text_encoder"]
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            # room for a region of shared memory, and none for a package
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 * 2**10, before[1]))
            try:
                path = exported.make_concept(served.registry, name, seed=40 + number)
                assert path.stat().st_size > 64 * 2**10
                once = vico_client.Client(served.address, timeout=LONG, retry=vico_client.Retry(attempts=1))
                with once, pytest.raises(vico_client.Overloaded, match="concept: no room to load it now"):
                    once.generate(PROMPT, concept=name, steps=1)
                assert patient.goes_on(2), served.log()
                assert served.stages()["text_encoder"] == pid, "it lives"
            finally:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
            assert client.generate(PROMPT, concept=name, steps=1)
            path.unlink()
    print(count, "full disks:", dict(patient.outcomes))
    assert not patient.wrong


@counts(2, 24)
def test_the_clock_jumps(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Of all of the server's processes, by hours and years, to and fro: no picture, deadline or new concept suffers.

    It is never behind the machine's own: libfaketime leaves pthread_mutex_timedlock to the kernel, for which every
    deadline of a clock behind it has passed. Triton then takes its stages for dead, as it would not on such a machine.
    """
    library = pytest.importorskip("libfaketime", reason="pip install libfaketime")
    clock = tmp_path / "clock"
    clock.write_text("+1y")
    shared = next(Path(library.__file__).parent.rglob("libfaketime.so.1"))
    for name, value in {
        "LD_PRELOAD": str(shared), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with own_server(exported.folder, tmp_path) as served:
        for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
            monkeypatch.delenv(name)
        add_toys(exported, served)
        cases = mixed(served)
        with Patient(served.address, cases) as patient, client_of(served) as client:
            for number in range(count):
                partial = tmp_path / "partial"
                partial.write_text(("+2h", "+9y", "+1d", "+3y", "+0", "+1y")[number % 6])
                partial.replace(clock)
                assert patient.goes_on(3), served.log()
                path = exported.make_concept(served.registry, "fresh", seed=60 + number)
                info = client.generate_result(PROMPT, concept="fresh", steps=1).info
                assert info.concept == f"fresh@{read_package(path).digest}", "a new file counts at once"
                with pytest.raises((vico_client.DeadlineExceeded, vico_client.Overloaded)):
                    client.generate("a dog", steps=100, num_images=8, timeout=0.3)
    print(count, "jumps:", dict(patient.outcomes))
    assert not patient.wrong
    assert set(patient.outcomes) == {"answered"}


@counts(1, 10)
def test_told_to_stop_under_load(exported: Exported, tmp_path: Path, count: int) -> None:
    """Each time everybody gets a picture or the word to come later, and nothing stays behind."""
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        with own_server(exported.folder, folder, "--grace", "300") as served:
            add_toys(exported, served)
            cases = mixed(served)
            with Patient(served.address, cases, users=6) as patient:
                assert patient.goes_on(6), served.log()
                assert served.stop() == 0, served.log()
            assert not patient.wrong
            assert patient.outcomes["Unavailable"], "who asks afterwards is told so"


def _version(exported: Exported, folder: Path, seed: int) -> bytes:
    """Another content under the one id."""
    (folder / str(seed)).mkdir()
    return exported.make_concept(folder / str(seed), "live", seed=20 + seed).read_bytes()


def _altered(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[-9] ^= 0x20
    return bytes(changed)


def _only(result: vico_client.GenerateResult) -> Any:
    return np.asarray(result.images[0])
