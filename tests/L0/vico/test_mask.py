from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vico.image_attention import masked_attention
from vico.mask import otsu_threshold, prune, reference_mask

Row = npt.NDArray[np.float64]


def otsu_as_published(row: Row) -> npt.NDArray[np.bool_]:
    """The loop of the paper's code, on one row."""
    values = (row - row.min()) / (row.max() - row.min())
    best, threshold = 0.0, 0.0
    for k in range(10):
        low, high = values[values < k * 0.1], values[values >= k * 0.1]
        if len(low) == 0 or len(high) == 0:
            continue
        score = len(low) / len(row) * (len(high) / len(row)) * (low.mean() - high.mean()) ** 2
        if score > best:
            best, threshold = score, k * 0.1
    kept: npt.NDArray[np.bool_] = (values >= threshold) & (values != 0)
    return kept


rows = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 40)), elements=st.floats(0, 1, width=32))


@given(rows)
@settings(max_examples=300, deadline=None)
def test_equals_the_published_loop(attention: Row) -> None:
    spread = attention.max(axis=1) - attention.min(axis=1)
    attention = attention[spread > 1e-6]
    if len(attention) == 0:
        return
    found = reference_mask(torch.from_numpy(attention)).numpy()
    for row, mask in zip(attention, found, strict=True):
        assert _same_split(row, mask)


def _same_split(row: Row, mask: npt.NDArray[np.bool_]) -> bool:
    """Equal masks, or two candidates whose scores differ by rounding only."""
    expected = otsu_as_published(row)
    return bool((mask == expected).all()) or math.isclose(_score(row, mask), _score(row, expected), rel_tol=1e-9)


def _score(row: Row, mask: npt.NDArray[np.bool_]) -> float:
    values = (row - row.min()) / (row.max() - row.min())
    return float(mask.mean() * (~mask).mean() * (values[mask].mean() - values[~mask].mean()) ** 2)


@given(rows, st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_rows_are_independent(attention: Row, factor: float) -> None:
    batch = reference_mask(torch.from_numpy(attention))
    for row, mask in zip(attention, batch, strict=True):
        assert torch.equal(reference_mask(torch.from_numpy(row[None])), mask[None])


def test_a_clear_object_is_found() -> None:
    attention = torch.full((1, 64), 0.01)
    attention[0, 10:20] = 0.2
    assert reference_mask(attention)[0].nonzero().flatten().tolist() == list(range(10, 20))


def test_least_patch_is_never_kept() -> None:
    assert not reference_mask(torch.rand(8, 100)).gather(1, torch.rand(8, 100).argmin(1, keepdim=True)).all()
    attention = torch.rand(8, 100)
    assert not reference_mask(attention).gather(1, attention.argmin(1, keepdim=True)).any()


def test_constant_attention_keeps_everything_as_the_published_division_by_zero_does() -> None:
    assert reference_mask(torch.full((2, 9), 0.3)).all()


def test_threshold_is_the_first_of_the_best() -> None:
    # between 0 and 1 every candidate from 0.1 on splits alike
    values = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    assert otsu_threshold(values).item() == 0.1


def test_no_gradient_flows() -> None:
    attention = torch.rand(2, 16, requires_grad=True)
    assert not reference_mask(attention).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_split_in_float32(dtype: torch.dtype) -> None:
    attention = torch.rand(2, 50).to(dtype)
    assert torch.equal(reference_mask(attention), reference_mask(attention.float()))


@given(
    mask=arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 9))),
    seed=st.integers(0, 100),
)
def test_attention_over_the_kept_alone_is_attention_under_the_mask(mask: npt.NDArray[np.bool_], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    rows, tokens = mask.shape
    features = torch.randn(rows, tokens, 8, generator=random, dtype=torch.float64)
    query = torch.randn(rows, 1, 5, 8, generator=random, dtype=torch.float64)
    kept, here = prune(features, torch.from_numpy(mask))
    assert kept.shape[1] == max(1, mask.sum(axis=1).max())
    assert (here.sum(dim=1) == torch.from_numpy(mask).sum(dim=1).clamp(min=1)).all()
    whole, few = (
        masked_attention(query, tokens[:, None], tokens[:, None], m)
        for tokens, m in ((features, torch.from_numpy(mask)), (kept, here))
    )
    torch.testing.assert_close(few, whole, rtol=0, atol=1e-12)
