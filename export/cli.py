"""The command `vico export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.errors import ExportError

if TYPE_CHECKING:
    from rich.console import Console

    from export.engines import Library
    from export.records import GraphResult


class Target(StrEnum):
    """What the graphs are made to run on."""

    ONNX = "onnx"
    ONNX_FP16 = "onnx-fp16"
    ONNX_BF16 = "onnx-bf16"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


def export(
    base: Annotated[Path, typer.Option(help="A Stable Diffusion 1.x folder in diffusers' layout.")],
    out: Annotated[Path, typer.Option(help="Where the graph set goes; what is up to date there stays.")],
    target: Annotated[Target, typer.Option(help="What to export for.")] = Target.ONNX,
    check: Annotated[bool, typer.Option(help="Hold every new graph against torch.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")] = False,
) -> None:
    """Turn a base into the graphs that `vico serve` runs, and the Triton model repository around them."""
    # before anything is loaded or written: what cannot be built here is said at once
    library = _library(target, out)
    from rich.console import Console

    console = Console(stderr=True)
    try:
        results = _run(base, out, target, library, check, console)
    except OSError as error:
        raise ExportError(
            "out", f"{out} cannot be written ({error.strerror})", "a folder with room on the disk"
        ) from None
    for result in results:
        console.print(_line(result), highlight=False, soft_wrap=True)
    if json:
        _print_json(out, results)


def _library(target: Target, out: Path) -> Library | None:
    """What builds the engines of a target; None for a target without.

    Raises:
        TargetError: it is not here, or there is no GPU where it needs one.
    """
    match target:
        case Target.TENSORRT:
            from export.tensorrt import TensorRT

            return TensorRT(out / "timing.cache")
        case Target.TENSORRT_RTX:
            from export.tensorrt_rtx import TensorRTRtx

            return TensorRTRtx()
    return None


def _run(
    base: Path, out: Path, target: Target, library: Library | None, check: bool, console: Console
) -> tuple[GraphResult, ...]:
    """Export under a progress bar; prints how far the new graphs are off torch."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # the libraries take seconds to import: say so first
        task = progress.add_task("loading the base", total=None)
        from export.check import deviation_table
        from export.keys import ExportOptions
        from export.pipeline import export_base
        from export.signatures import GRAPH_NAMES
        from vico.base import load_base

        loaded = load_base(base)

        def announce(name: str, stage: str) -> None:
            done = [str(graph) for graph in GRAPH_NAMES].index(name)
            progress.update(task, description=f"{stage} {name}", completed=done, total=len(GRAPH_NAMES))

        results = export_base(
            loaded, out, ExportOptions(), check=check, announce=announce, target=target.value, library=library
        )
    if deviations := [deviation for result in results for deviation in result.deviations]:
        console.print(deviation_table(deviations))
    return results


def _line(result: GraphResult) -> str:
    record = result.record
    done = f"exported in {record.export_seconds:.1f} s" if result.is_new else "up to date"
    checked = "not checked" if record.max_error is None else f"max error {record.max_error:.1e}"
    megabytes = record.size_bytes / 2**20
    return f"{record.name:18} {record.attention_nodes:3} Attention  {megabytes:8.1f} MiB  {checked:18} {done}"


def _print_json(out: Path, results: tuple[GraphResult, ...]) -> None:
    from dataclasses import asdict
    from json import dumps

    graphs = {result.record.name: asdict(result.record) | {"is_new": result.is_new} for result in results}
    typer.echo(dumps({"out": str(out), "graphs": graphs}, indent=2))
