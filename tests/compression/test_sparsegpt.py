"""SparseGPT against optimal brain surgeon done by brute force, one weight at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from paperworks.compression.pruning import MagnitudePruner, Wanda
from paperworks.compression.sparsegpt import SparseGPT


def correlated(rows: int, fan: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, fan)) @ rng.normal(size=(fan, fan))


def surgeon(
    weight: np.ndarray,
    x: np.ndarray,
    sparsity: float,
    block: int,
    damping: float,
    n_m: tuple[int, int] | None = None,
) -> np.ndarray:
    """The algorithm as a text would tell it: every inverse taken anew, every update solved for.

    A dropped weight is made up for by those after it in its row: the least squares problem over
    them is solved from the (damped) data.
    """
    w = weight.astype(float).copy()
    out, fan = w.shape
    hessian = x.T @ x / len(x)
    hessian += damping * np.trace(hessian) / fan * np.eye(fan)
    root = np.linalg.cholesky(hessian).T  # rows of "data" with exactly this Hessian
    cost = np.array([np.linalg.inv(hessian[i:, i:])[0, 0] for i in range(fan)])
    stay = np.ones((out, fan), dtype=bool)
    done = 0
    for start in range(0, fan, block):
        end = min(start + block, fan)
        if n_m is None:
            scores = w[:, start:end] ** 2 / cost[start:end]
            drop = round(sparsity * out * end) - done
            done += drop
            part = np.ones(scores.size, dtype=bool)
            part[np.argsort(scores.ravel(), kind="stable")[:drop]] = False
            stay[:, start:end] = part.reshape(scores.shape)
        for j in range(start, end):
            if n_m is not None and j % n_m[1] == 0:
                n, m = n_m
                scores = w[:, j : j + m] ** 2 / cost[j : j + m]
                for i in range(out):
                    stay[i, j + np.argsort(scores[i], kind="stable")[: m - n]] = False
            for i in range(out):
                if not stay[i, j]:
                    rest = root[:, j + 1 :]
                    w[i, j + 1 :] += np.linalg.lstsq(rest, root[:, j] * w[i, j], rcond=None)[0]
                    w[i, j] = 0
    return w


@settings(deadline=None, max_examples=20)
@example(out=1, fan=9, block=1, sparsity=0.25, seed=0)  # a block's own share is no whole weight
@given(
    out=st.integers(1, 4),
    fan=st.integers(1, 9),
    block=st.integers(1, 10),
    sparsity=st.sampled_from([0.25, 0.5, 0.8]),
    seed=st.integers(0, 999),
)
def test_as_brute_force(out: int, fan: int, block: int, sparsity: float, seed: int) -> None:
    x = correlated(40, fan, seed)
    layer = nn.Linear(fan, out, bias=False).double()
    weight = np.random.default_rng(seed).normal(size=(out, fan))
    layer.weight.data = torch.from_numpy(weight.copy())
    SparseGPT(sparsity, block=block, damping=0.01)(layer, [torch.from_numpy(x)])
    expected = surgeon(weight, x, sparsity, block, 0.01)
    # The Hessian is gathered in float32.
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=2e-3, atol=2e-4)
    assert int((layer.weight == 0).sum()) == round(sparsity * out * fan)


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
@pytest.mark.parametrize("block", [8, 16, 19])
def test_n_m_as_brute_force(pattern: str, block: int) -> None:
    x, weight = correlated(60, 16, 1), np.random.default_rng(2).normal(size=(5, 16))
    layer = nn.Linear(16, 5, bias=False)
    layer.weight.data = torch.from_numpy(weight).float()
    SparseGPT(pattern=pattern, block=block)(layer, [torch.from_numpy(x).float()])
    n, m = map(int, pattern.split(":"))
    expected = surgeon(weight, x, 0, block - block % m, 0.01, (n, m))
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_is_its_groups(groups: int) -> None:
    """N:M ranks nothing across groups, so each group must come out as a layer of its own."""
    whole = nn.Conv2d(4 * groups, 6 * groups, 2, groups=groups)
    x = torch.randn(3, 4 * groups, 5, 5, generator=torch.Generator().manual_seed(0))
    weight = whole.weight.detach().clone()
    SparseGPT(pattern="2:4")(whole, [x])
    for g in range(groups):
        one = nn.Conv2d(4, 6, 2)
        one.weight.data = weight[6 * g : 6 * g + 6].clone()
        SparseGPT(pattern="2:4")(one, [x[:, 4 * g : 4 * g + 4]])
        torch.testing.assert_close(whole.weight[6 * g : 6 * g + 6], one.weight)


def test_a_convolution_is_a_linear_layer_on_its_patches() -> None:
    conv = nn.Conv2d(3, 5, 2, stride=2).to(memory_format=torch.channels_last)
    linear = nn.Linear(12, 5)
    linear.weight.data = conv.weight.detach().contiguous().flatten(1).clone()
    x = torch.randn(20, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    SparseGPT(0.5, block=5)(conv, [x])
    SparseGPT(0.5, block=5)(linear, [nn.functional.unfold(x, 2, stride=2).mT])
    torch.testing.assert_close(conv.weight.flatten(1), linear.weight)


def test_n_m_of_a_convolution_goes_through_the_channels_of_each_place() -> None:
    conv, linear = nn.Conv2d(8, 5, 2, stride=2), nn.Linear(32, 5)
    order = torch.arange(32).view(8, 4).T.flatten()  # all channels of the first place come first
    linear.weight.data = conv.weight.detach().flatten(1)[:, order].clone()
    x = torch.randn(20, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    SparseGPT(pattern="2:4")(conv, [x])
    SparseGPT(pattern="2:4")(linear, [nn.functional.unfold(x, 2, stride=2).mT[..., order]])
    torch.testing.assert_close(conv.weight.flatten(1)[:, order], linear.weight)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), pattern=st.sampled_from([None, "2:4"]))
def test_it_leaves_less_error_than_methods_that_change_nothing(
    seed: int, pattern: str | None
) -> None:
    rng = np.random.default_rng(seed)  # eight directions matter: what goes can be made up for
    signal = rng.normal(size=(200, 8)) @ rng.normal(size=(8, 32))
    x = torch.from_numpy(signal + 0.3 * rng.normal(size=(200, 32))).float()
    weight = torch.from_numpy(rng.normal(size=(24, 32))).float()
    errors = []
    for method in (SparseGPT, Wanda, MagnitudePruner):
        layer = nn.Linear(32, 24, bias=False)
        layer.weight.data = weight.clone()
        method(None if pattern else 0.5, pattern=pattern)(layer, [x])  # type: ignore[arg-type]
        errors.append(float((x @ (layer.weight.detach() - weight).T).norm()))
    assert errors[0] < 0.8 * min(errors[1:])


def test_inputs_that_are_never_there_go_first() -> None:
    layer = nn.Linear(6, 3)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    x[:, [1, 4, 5]] = 0
    before = layer.weight.detach().clone()
    SparseGPT(0.5)(layer, [x])
    assert (layer.weight[:, [1, 4, 5]] == 0).all()
    torch.testing.assert_close(layer.weight[:, [0, 2, 3]], before[:, [0, 2, 3]])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="block must be at least 4 columns, got 3"):
        SparseGPT(pattern="2:4", block=3)
    with pytest.raises(ValueError, match="block must be at least 1 columns, got 0"):
        SparseGPT(block=0)
    with pytest.raises(ValueError, match=r"damping must be >= 0, got -0\.1"):
        SparseGPT(damping=-0.1)
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"^0: the Hessian is not positive definite"):
        SparseGPT(damping=0.0)(model, [torch.ones(1, 4)])
