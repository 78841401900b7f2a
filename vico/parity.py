"""Compare our method with reference tensors: `python -m vico.parity DIR`.

A parity folder holds `cfg.json` (constructor numbers of the published U-Net class), `unet_ldm_fp16.safetensors` (its
weights under LDM names, each with the prefix `unet.`) and `cases.safetensors` (per case inputs `x, xr, c, t, ph, eot`
and float64 outputs: `eps`; `mask0…` where the image attention is on; `loss_reg` in training mode; neither where it is
off). Which decoder transformers are sites is read from the weights' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from vico.errors import BaseError
from vico.parity_model import ParityModel, load_cases, load_model, run_case
from vico.streams import split_stream, two_stream
from vico.unet import predict_noise

TOLERANCE_FLOAT64 = 1e-9
# random networks amplify rounding to about 1.5e-3, plain Stable Diffusion's too
TOLERANCE_FLOAT32 = 5e-3


@dataclass(frozen=True)
class CaseErrors:
    """Greatest deviations of one case in one precision."""

    case: str
    dtype: torch.dtype
    noise: float
    wrong_patches: int | None  # None: the case has no masks
    regulariser: float | None  # None: the case is not in training mode

    @property
    def passed(self) -> bool:
        """float64: ε and regulariser within 1e-9, masks equal; float32: ε within 5e-3."""
        if self.dtype == torch.float32:
            return self.noise <= TOLERANCE_FLOAT32
        return (
            self.noise <= TOLERANCE_FLOAT64
            and not self.wrong_patches
            and (self.regulariser is None or self.regulariser <= TOLERANCE_FLOAT64)
        )


def check_case(model: ParityModel, case: str, tensors: Mapping[str, Tensor]) -> CaseErrors:
    """Greatest errors of both forms of the method, the joint and the split one, on one case."""
    expected = [tensors[f"mask{i}"].bool() for i in range(len(model.sites)) if f"mask{i}" in tensors]
    if not expected and "loss_reg" not in tensors:
        x, c = (tensors[name].to(model.dtype) for name in ("x", "c"))
        noise = predict_noise(model.unet, x, tensors["t"], c)
        return CaseErrors(case, model.dtype, _error(noise, tensors["eps"]), None, None)
    outputs = [run_case(form, model, tensors) for form in (two_stream, split_stream)]
    masks = [[reference.mask for reference in output.references] for output in outputs]
    return CaseErrors(
        case,
        model.dtype,
        noise=max(_error(output.noise, tensors["eps"]) for output in outputs),
        wrong_patches=max(sum(int((m != e).sum()) for m, e in zip(found, expected, strict=True)) for found in masks)
        if expected
        else None,
        regulariser=max(_error(output.regulariser, tensors["loss_reg"].squeeze()) for output in outputs)
        if "loss_reg" in tensors
        else None,
    )


def check_folder(folder: Path) -> list[CaseErrors]:
    """Every case of a parity folder in float64 and then in float32."""
    cases = load_cases(folder)
    return [
        check_case(model, case, tensors)
        for model in (load_model(folder, torch.float64), load_model(folder, torch.float32))
        for case, tensors in cases.items()
    ]


def _error(found: Tensor, expected: Tensor) -> float:
    """Greatest absolute difference; infinite where anything is not a number."""
    difference = (found.double() - expected.double()).abs().max()
    return float(torch.nan_to_num(difference, nan=float("inf")))


def _line(errors: CaseErrors) -> str:
    masks = "" if errors.wrong_patches is None else f"  wrong patches {errors.wrong_patches}"
    regulariser = "" if errors.regulariser is None else f"  regulariser {errors.regulariser:.2e}"
    precision = str(errors.dtype).removeprefix("torch.")
    verdict = "ok" if errors.passed else "FAILED"
    return f"{precision}  case {errors.case}  eps {errors.noise:.2e}{masks}{regulariser}  {verdict}"


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with cfg.json, weights and cases.")],
    write_golden: Annotated[bool, typer.Option(help="Write the small golden folder there instead.")] = False,
) -> None:
    """Print the greatest errors per case; exit code 1 when one is past its tolerance."""
    if write_golden:
        from vico.golden import write_golden_folder

        write_golden_folder(folder)
    errors = check_folder(folder)
    for case in errors:
        print(_line(case))
    failed = sum(not case.passed for case in errors)
    print(f"tolerances: float64 {TOLERANCE_FLOAT64:.0e} and masks equal, float32 {TOLERANCE_FLOAT32:.0e}")
    if failed or not errors:
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except BaseError as error:
        raise SystemExit(f"error: {error}") from None
