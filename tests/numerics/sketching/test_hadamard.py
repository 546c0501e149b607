from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from paperworks.numerics import hadamard_transform
from paperworks.numerics.sketching import hadamard_arrays as module


def by_matrix(x, axis=-1):
    H = hadamard(x.shape[axis]).astype(np.float64)
    return np.moveaxis(np.tensordot(H, x.astype(np.float64), axes=(1, axis)), 0, axis)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(0, 9),
    st.lists(st.integers(1, 20), max_size=1),
    st.sampled_from([np.float64, np.float32]),
    st.integers(1, 3),
)
def test_agrees_with_the_matrix(before, log_n, after, dtype, workers):
    shape = (*before, 1 << log_n, *after)
    x = np.random.default_rng(log_n).standard_normal(shape).astype(dtype)
    y = hadamard_transform(x, axis=len(before), workers=workers)
    assert y.dtype == dtype
    tolerance = (1e-13 if dtype == np.float64 else 1e-5) * 2**log_n
    np.testing.assert_allclose(y, by_matrix(x, len(before)), atol=tolerance)


@pytest.mark.parametrize("shape", [(1 << 17,), (3, 1 << 16), (1 << 13, 3), (2, 1 << 13, 5)])
@pytest.mark.parametrize("workers", [1, 2])
def test_long_transforms_that_go_in_two_walks(shape, workers):
    # Too long for the matrix: one row of it at a time, by popcounts, is an oracle of its own.
    axis = int(np.argmax(shape))
    n = shape[axis]
    assert n > module.NEAR_COLUMNS
    x = np.random.default_rng(0).standard_normal(shape)
    y = hadamard_transform(x, axis=axis, workers=workers)
    for row in (0, 1, n // 2, n - 1, 12345 % n):
        signs = np.array([1.0 - 2.0 * ((row & j).bit_count() % 2) for j in range(n)])
        expected = np.tensordot(signs, x, axes=(0, axis))
        np.testing.assert_allclose(np.take(y, row, axis), expected, atol=1e-9)
    np.testing.assert_allclose(hadamard_transform(y, axis=axis) / n, x, atol=1e-12)


def test_is_its_own_inverse_and_keeps_lengths():
    x = np.random.default_rng(1).standard_normal((7, 256))
    y = hadamard_transform(x, norm="ortho")
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1))
    np.testing.assert_allclose(hadamard_transform(y, norm="ortho"), x, atol=1e-13)


def test_in_place_or_not():
    x = np.random.default_rng(2).standard_normal((4, 64))
    before, expected = x.copy(), by_matrix(x)
    assert hadamard_transform(x) is not x
    np.testing.assert_array_equal(x, before)
    assert hadamard_transform(x, overwrite_x=True) is x
    np.testing.assert_allclose(x, expected, atol=1e-12)
    strided = np.asfortranarray(before)
    assert hadamard_transform(strided, overwrite_x=True) is strided
    np.testing.assert_allclose(strided, expected, atol=1e-12)
    view = np.ascontiguousarray(before.T).T[::2]
    np.testing.assert_allclose(hadamard_transform(view), expected[::2], atol=1e-12)


def test_integers_are_promoted_and_halves_keep_their_dtype():
    assert hadamard_transform([1, 2, 3, 4]).tolist() == [10, -2, -4, 0]
    assert hadamard_transform(np.array([True, False])).tolist() == [1, 1]
    assert hadamard_transform(np.ones(4, np.float16)).dtype == np.float16
    assert hadamard_transform(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_torch_agrees_with_numpy(dtype):
    x = torch.randn(3, 32, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for axis in (1, -2):
        y = hadamard_transform(x.to(dtype), axis=axis)
        assert y.dtype == dtype
        expected = by_matrix(x.numpy(), 1)
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.float16: 0.1}.get(dtype, 1.0)
        np.testing.assert_allclose(y.double().numpy(), expected, atol=tolerance)


def test_torch_gradients_and_transforms_in_place():
    x = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: hadamard_transform(x, norm="ortho"), x)
    assert torch.autograd.gradgradcheck(lambda x: hadamard_transform(x) ** 2, x)
    for dtype in (torch.float64, torch.bfloat16):
        y = torch.ones(2, 8, dtype=dtype)
        assert hadamard_transform(y, overwrite_x=True) is y
        assert y[:, 0].tolist() == [8, 8]
        assert not y[:, 1:].any()
    assert hadamard_transform(torch.tensor([1, 2])).dtype == torch.float64
    # Saved for a gradient and then overwritten: autograd has to notice.
    a = torch.ones(4, dtype=torch.float64, requires_grad=True)
    b = a * 1.0
    loss = (b * b).sum()
    hadamard_transform(b.detach(), overwrite_x=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(6), {}, r"the length along axis -1 must be a power of two, got 6; pad with zero"),
        (np.ones((4, 0)), {}, "must be a power of two, got 0; there is nothing"),
        (np.ones(4), {"axis": 1}, r"axis 1 is not one of the 1 of x, of shape \(4,\)"),
        (np.float64(3.0), {}, "axis -1 is not one of the 0 of x"),
        (np.ones(4, complex), {}, "must hold real numbers, got dtype complex128.*x.real"),
        (np.ones(4), {"norm": "forward"}, "norm must be None or 'ortho', got 'forward'"),
        (np.ones(4), {"workers": 0}, "workers must be >= 1, got 0"),
        ([1.0, 2.0], {"overwrite_x": True}, "overwrite_x needs a float32 or float64 array.*list"),
        (np.ones(4, int), {"overwrite_x": True}, "overwrite_x needs .* dtype int64"),
        (torch.ones(6), {}, "must be a power of two, got 6"),
        (torch.ones(4, dtype=torch.complex64), {}, "must hold real numbers"),
        (torch.ones(4, requires_grad=True), {"overwrite_x": True}, "requires no gradient"),
        (torch.ones(4, dtype=torch.int64), {"overwrite_x": True}, "needs a floating tensor"),
    ],
)
def test_bad_input(x, options, message):
    with pytest.raises(ValueError, match=message):
        hadamard_transform(x, **options)
