"""The factor of the inverse Hessian, against inverses of each trailing part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.compression.hessian import inverse_cholesky


def hessian_of(n: int, rows: int, seed: int) -> torch.Tensor:
    x = torch.randn(rows, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.mT @ x / rows


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 12), seed=st.integers(0, 1000), damping=st.sampled_from([0.0, 0.01, 1.0]))
def test_row_i_is_that_of_the_inverse_of_what_is_left(n: int, seed: int, damping: float) -> None:
    hessian = hessian_of(n, 3 * n, seed)
    upper = inverse_cholesky(hessian, damping).numpy()
    damped = hessian.numpy() + damping * hessian.diagonal().mean().item() * np.eye(n)
    np.testing.assert_allclose(upper, np.triu(upper), atol=0)
    np.testing.assert_allclose(upper.T @ upper, np.linalg.inv(damped), rtol=1e-6, atol=1e-8)
    for i in range(n):
        first = np.linalg.inv(damped[i:, i:])[0]
        np.testing.assert_allclose(upper[i, i] * upper[i, i:], first, rtol=1e-6, atol=1e-8)


def test_a_batch_is_each_of_its_matrices_in_their_dtype() -> None:
    several = torch.stack([hessian_of(5, 20, seed) for seed in range(3)]).float()
    upper = inverse_cholesky(several)
    assert upper.dtype == torch.float32
    for one, each in zip(upper, several, strict=True):
        torch.testing.assert_close(one, inverse_cholesky(each))


def test_an_input_that_is_never_there_takes_no_part() -> None:
    hessian = hessian_of(4, 20, 0)
    hessian[1] = hessian[:, 1] = 0
    upper = inverse_cholesky(hessian, 0.0)
    torch.testing.assert_close(upper[1], torch.tensor([0.0, 1, 0, 0], dtype=torch.float64))
    rest = [0, 2, 3]
    torch.testing.assert_close(upper[rest][:, rest], inverse_cholesky(hessian[rest][:, rest], 0.0))
    torch.testing.assert_close(inverse_cholesky(torch.zeros(2, 2)), torch.eye(2))


def test_the_input_is_left_alone() -> None:
    hessian = hessian_of(4, 20, 0)
    before = hessian.clone()
    inverse_cholesky(hessian)
    assert torch.equal(hessian, before)


def test_too_few_rows_ask_for_damping() -> None:
    with pytest.raises(ValueError, match=r"not positive definite at damping=0\.0: give more"):
        inverse_cholesky(torch.ones(3, 3), 0.0)
    assert inverse_cholesky(torch.ones(3, 3)).isfinite().all()
    with pytest.raises(ValueError, match=r"damping must be >= 0, got -1"):
        inverse_cholesky(torch.eye(2), -1)
