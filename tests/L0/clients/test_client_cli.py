"""`vico generate`: files, output, exit codes."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from fake_vico_server import DIGEST, FakeServer, picture, pictures
from typer.testing import CliRunner, Result
from vico_client.cli import generate
from vico_client.files import picture_paths

PROMPT = "a photo of * on the beach"
WARNING = {"code": "prompt_truncated", "message": "77 of 90 tokens were used"}


def _vico(*arguments: object, **environment: str) -> Result:
    app = typer.Typer()
    app.command("generate")(generate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def test_the_command_is_registered_for_vico() -> None:
    (entry,) = (entry for entry in entry_points(group="vico.commands") if entry.name == "generate")
    assert entry.load() is generate


def test_a_picture_is_saved_as_the_server_made_it(server: FakeServer, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    done = _vico(PROMPT, "--concept", "my-toy", "--out", out, "--address", server.address, "--seed", 7)
    assert done.exit_code == 0
    assert done.stdout == f"{out}\n"
    assert done.stderr == f"seed 7, 25 steps of dpmpp_2m, 16 x 24, my-toy@{DIGEST}\n"
    assert out.read_bytes() == picture("png", 16, 24)
    assert list(tmp_path.iterdir()) == [out]


def test_every_option_reaches_the_server(server: FakeServer, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("png", 8, 8))
    options: dict[str, Any] = {
        "concept": "my-toy",
        "negative-prompt": "blur",
        "seed": 5,
        "preset": "fast",
        "steps": 9,
        "sampler": "ddim",
        "guidance-scale": 3.5,
        "image-guidance": 0.5,
        "height": 48,
        "width": 56,
        "num-images": 2,
        "priority": 8,
        "format": "webp",
        "reference-image": photo,
        "timeout": 5,
        "out": tmp_path / "x",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert _vico(PROMPT, *arguments, VICO_ADDRESS=server.address).exit_code == 0
    assert server.calls[0].fields == {
        "prompt": PROMPT.encode(),
        "concept": b"my-toy",
        "negative_prompt": b"blur",
        "seed": 5,
        "preset": b"fast",
        "steps": 9,
        "sampler": b"ddim",
        "guidance_scale": 3.5,
        "image_guidance": 0.5,
        "height": 48,
        "width": 56,
        "num_images": 2,
        "priority": 8,
        "output_format": b"webp",
        "reference_image": photo.read_bytes(),
    }
    assert 4_000_000 < server.calls[0].timeout_microseconds <= 5_000_000
    assert (tmp_path / "x-2").read_bytes() == picture("webp", 56, 48)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("p.png", "png"), ("p.JPG", "jpeg"), ("p.jpeg", "jpeg"), ("p.webp", "webp"), ("p.rgb", "raw")],
)
def test_the_suffix_chooses_the_format(server: FakeServer, tmp_path: Path, name: str, expected: str) -> None:
    assert _vico(PROMPT, "--out", tmp_path / name, "--address", server.address).exit_code == 0
    assert (tmp_path / name).read_bytes() == picture(expected, 16, 24)


def test_several_pictures_are_numbered(server: FakeServer, tmp_path: Path) -> None:
    done = _vico(PROMPT, "-n", 3, "-o", tmp_path / "p.png", "--address", server.address)
    assert done.stdout.splitlines() == [str(tmp_path / f"p-{number}.png") for number in (1, 2, 3)]
    assert [path.name for path in picture_paths(Path("p.png"), 10)][::9] == ["p-01.png", "p-10.png"]


def test_json_tells_all(server: FakeServer, tmp_path: Path) -> None:
    server.answer = lambda call: pictures(call, warnings=[WARNING])
    done = _vico(PROMPT, "--json", "--out", tmp_path / "p.png", "--address", server.address)
    told = json.loads(done.stdout)
    assert told["files"] == [str(tmp_path / "p.png")]
    assert told["request_id"] == server.calls[0].request_id
    assert told["info"]["warnings"] == [WARNING]
    assert told["info"]["timings"]["unet_loop"] == 1.5
    assert done.stderr == ""


def test_warnings_are_shown(server: FakeServer, tmp_path: Path) -> None:
    server.answer = lambda call: pictures(call, warnings=[WARNING])
    done = _vico(PROMPT, "--out", tmp_path / "p.png", "--address", server.address)
    assert done.exit_code == 0
    assert "warning: 77 of 90 tokens were used\n" in done.stderr


def test_a_refusal_is_one_line_and_exit_code_1(server: FakeServer, tmp_path: Path) -> None:
    server.refuse(
        grpc.StatusCode.INVALID_ARGUMENT, "in ensemble 'vico', steps: 0; accepted: a whole number from 1 to 100"
    )
    done = _vico(PROMPT, "--steps", 0, "--out", tmp_path / "p.png", "--address", server.address)
    assert done.exit_code == 1
    assert (done.stdout, done.stderr) == ("", "error: steps: 0; accepted: a whole number from 1 to 100\n")
    assert not list(tmp_path.iterdir())


def test_a_refusal_in_json(server: FakeServer, tmp_path: Path) -> None:
    server.refuse(grpc.StatusCode.NOT_FOUND, "concept: gone; accepted: a concept in the registry")
    done = _vico(PROMPT, "--json", "--out", tmp_path / "p.png", "--address", server.address)
    assert done.exit_code == 1
    error = json.loads(done.stdout)["error"]
    assert error.pop("request_id") == server.calls[0].request_id
    assert error == {
        "type": "ConceptNotFound",
        "message": "concept: gone; accepted: a concept in the registry",
        "problem": "gone",
        "field": "concept",
        "hint": "a concept in the registry",
        "status": "NOT_FOUND",
    }


@pytest.mark.parametrize(
    "arguments", [["--address", "localhost:1"], ["--address", "http://localhost:8000"], ["--guidance-scale", "nan"]]
)
def test_other_failures_are_one_line_too(tmp_path: Path, arguments: list[str]) -> None:
    done = _vico(PROMPT, "--out", tmp_path / "p.png", *arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_a_failure(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "p.png").mkdir()
    done = _vico(PROMPT, "--out", tmp_path / "p.png", "--address", server.address)
    assert done.exit_code == 1
    assert "error: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [PROMPT, "--steps", "many"],
        [PROMPT, "--no-such-option"],
        [PROMPT, "--out", "/no/such/folder/p.png"],
        [PROMPT, "--out", "picture.tiff"],
        [PROMPT, "--reference-image", "/no/such/photo.png"],
    ],
)
def test_wrong_usage_is_exit_code_2(server: FakeServer, arguments: list[str]) -> None:
    done = _vico(*arguments, VICO_ADDRESS=server.address)
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr
    assert not server.calls


def test_help_names_every_option() -> None:
    shown = _vico("--help").stdout
    for option in ("--concept", "--out", "--num-images", "--json", "--address", "--timeout"):
        assert option in shown
