"""`vico import`. Heavy libraries are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    base: Annotated[Path, typer.Option(help="Base that it was trained on.")],
    embedding: Annotated[Path, typer.Option(help="embeddings_gs-*.pt of ViCo, or a Textual-Inversion embedding.")],
    out: Annotated[Path, typer.Option(help="Concept package to write, <id>.safetensors.")],
    cross_attention: Annotated[Path | None, typer.Option(help="cross_attention-*.pt of ViCo; none: a word.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder with photos, with --cross-attention.")] = None,
    init_word: Annotated[str, typer.Option(help="Word for the kind of thing, e.g. toy.")] = "",
    concept_id: Annotated[str | None, typer.Option("--id", help="Default: the name of --out.")] = None,
    token: Annotated[str | None, typer.Option(help="Which token, where the embedding holds several.")] = None,
    placeholder: Annotated[str, typer.Option(help="What stands for the concept in prompts.")] = "*",
    references: Annotated[int, typer.Option(min=1, max=7, help="Photos that pictures look at.")] = 1,
    licence: Annotated[str, typer.Option(help="Licence of the photos, and consent of whoever is in them.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Make a concept package of checkpoints trained elsewhere. Their pickles are read without being run."""
    import json

    from rich.console import Console

    from training.errors import TrainingError

    if out.suffix != ".safetensors":
        raise TrainingError("out", f"{out.name} is not a concept package", "a name that ends in .safetensors")

    from training.importing import ImportJob, import_concept

    job = ImportJob(
        base=base,
        embedding=embedding,
        out=out,
        concept_id=concept_id or out.stem,
        cross_attention=cross_attention,
        photos=photos,
        init_word=init_word,
        token=token,
        placeholder=placeholder,
        references=references,
        licence=licence,
    )
    digest = import_concept(job)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "id": job.concept_id, "digest": digest}))
    else:
        Console().print(f"wrote {out} ({digest[:12]})", highlight=False)
