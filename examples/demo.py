"""The whole way once, as a user goes it: photos → concept → graphs → Triton → pictures over gRPC (`make demo`)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from vico_client import Client, GenerateRequest

from examples.grid import Row, draw_grid

ASSETS = Path(__file__).parents[1] / "assets"
PROMPTS = (
    "a photo of {} on the beach",
    "a photo of {} in the snow",
    "a photo of {} on a red carpet",
    "a photo of {} on the grass",
)
GUIDANCE_SCALE = 4.0
"""The toy base's; Stable Diffusion's usual 7.5 is too much for it (training/README.md)."""
console = Console()


@dataclass(frozen=True)
class Demo:
    """What the demo teaches, and where it works."""

    out: Path
    concept: str
    init_word: str

    @property
    def photos(self) -> list[Path]:
        """The photos that it trains on."""
        return sorted((ASSETS / "photos" / self.concept / "train").iterdir())


def main(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    concept: Annotated[str, typer.Option(help="A folder of assets/photos.")] = "chicken",
    seeds: Annotated[int, typer.Option(min=1, max=8, help="Pictures a prompt.")] = 3,
) -> None:
    """Train one concept on the toy base, export, serve, generate; leave OUT/grid.png."""
    began = time.perf_counter()
    catalogue = json.loads((ASSETS / "photos" / "concepts.json").read_text())
    demo = Demo(out, concept, next(entry["init_word"] for entry in catalogue if entry["id"] == concept))
    out.mkdir(parents=True, exist_ok=True)
    _train(demo)
    _export(demo)
    with _served(demo) as address:
        rows = _generate(demo, address, seeds)
    draw_grid(rows, out / "grid.png", init_word=demo.init_word, concept=concept)
    console.print(f"[bold green]done[/] in {time.perf_counter() - began:.0f} s: open {out / 'grid.png'}")


def _train(demo: Demo) -> None:
    console.rule("1  train a concept from its photos")
    photos = demo.photos[0].parent
    package = demo.out / "registry" / f"{demo.concept}.safetensors"
    _vico("train", "--base", ASSETS / "toy-base", "--photos", photos, "--init-word", demo.init_word, "--out", package)


def _export(demo: Demo) -> None:
    console.rule("2  export the base")
    _vico("export", "--base", ASSETS / "toy-base", "--out", demo.out / "graphs", "--target", "onnx")


def _generate(demo: Demo, address: str, seeds: int) -> list[Row]:
    console.rule("4  ask for pictures over gRPC")
    rows = []
    with Client(address, timeout=120) as client:
        for number, prompt in enumerate(PROMPTS):
            reference = Image.open(demo.photos[number % len(demo.photos)])
            base = GenerateRequest(
                prompt.format(f"a {demo.init_word}"), seed=number, guidance_scale=GUIDANCE_SCALE, num_images=2
            )
            concept = replace(base, prompt=prompt.format("a *"), concept=demo.concept, num_images=seeds)
            plain, own = client.send(base).images, client.send(concept).images
            for index, image in enumerate(own):
                image.save(demo.out / f"{number}-{index}.png")
            rows.append(Row(prompt.format("a *"), reference, plain, own))
            console.print(f"  {prompt.format('a *')}")
    return rows


@contextmanager
def _served(demo: Demo) -> Iterator[str]:
    """The address of `vico serve` while it runs."""
    console.rule("3  serve with Triton")
    folders = ("--graphs", demo.out / "graphs", "--registry", demo.out / "registry")
    command = _command("serve", *folders, "--grpc-port", "0", "--metrics-port", "0")
    log = demo.out / "serve.log"
    with log.open("w") as lines:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines, text=True)
    try:
        assert server.stdout is not None
        ready = re.match(r"ready: gRPC (\S+),", server.stdout.readline())
        if ready is None:
            raise SystemExit(f"the server did not start: see {log}")
        address = ready[1]
        console.print(f"  ready at {address}")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def _vico(*arguments: str | Path) -> None:
    if (code := subprocess.run(_command(*arguments), check=False).returncode) != 0:
        raise SystemExit(code)


def _command(*arguments: str | Path) -> list[str]:
    """The `vico` beside this Python, so that the demo needs no activated environment."""
    return [os.fspath(Path(sys.executable).with_name("vico")), *(os.fspath(argument) for argument in arguments)]


if __name__ == "__main__":
    typer.run(main)
