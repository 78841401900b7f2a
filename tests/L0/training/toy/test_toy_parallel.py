"""Two processes make the same step as one."""

from __future__ import annotations

from pathlib import Path

import torch

from training.toy import parallel
from training.toy.muon import muon_for


def _steps(out: Path) -> None:
    """Three steps of a small network; process 0 saves its weights."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6), torch.nn.Linear(6, 6))
    optimizer = muon_for(model, 1e-2, decay=0.01)
    inputs = torch.randn(3, 4, 6)
    for batch in inputs:
        rows = parallel.own_rows()
        optimizer.zero_grad()
        model(batch[rows]).square().mean().backward()
        parallel.average_gradients(model)
        optimizer.step()
    assert parallel.agreed(parallel.rank() == 0)
    if parallel.rank() == 0:
        torch.save(model.state_dict(), out)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    parallel.run(1, _steps, tmp_path / "one.pt")
    parallel.run(2, _steps, tmp_path / "two.pt")
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_rows_take_turns() -> None:
    assert list(range(10))[parallel.own_rows()] == list(range(10))
    assert parallel.own_rows(turn=3) == slice(0, None, 1)
