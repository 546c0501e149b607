from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperworks.diffusion.f_distill.divergences import (
    DIVERGENCES,
    Divergence,
    alpha_divergence,
    divergence_named,
    divergence_of,
)

R = sympy.Symbol("r", positive=True)
ROWS = [*DIVERGENCES.values(), *(alpha_divergence(a) for a in (-1.0, 0.0, 0.25, 1.0, 2.0))]
IDS = [row.name for row in ROWS]
NAMES = list(DIVERGENCES)

# The columns h of table 1 of the paper, by hand.
PUBLISHED: dict[str, Callable[[Any], Any]] = {
    "reverse-kl": lambda r: r**0,
    "softened-reverse-kl": lambda r: 1 / (r + 1),
    "js": lambda r: r / (r + 1),
    "squared-hellinger": lambda r: r**0.5 / 4,
    "forward-kl": lambda r: r,
    "jeffreys": lambda r: r + 1,
}


def symbols(row: Divergence) -> tuple[sympy.Expr, ...]:
    assert row.formulas is not None
    return tuple(sympy.sympify(each, {"r": R}, rational=True) for each in row.formulas)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_columns_of_the_table_agree(row: Divergence) -> None:
    f, second, h = symbols(row)
    assert sympy.simplify(sympy.diff(f, R, 2) - second) == 0
    assert sympy.simplify(R**2 * second - h) == 0
    assert f.subs(R, 1) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_code_is_the_table(row: Divergence, dtype: torch.dtype) -> None:
    ratio = np.logspace(-6, 6, 49)
    of = torch.from_numpy(ratio).to(dtype)
    tol = 1e-10 if dtype == torch.float64 else 2e-5
    f, second, h = (sympy.lambdify(R, each, "numpy")(ratio) for each in symbols(row))
    found = {"f": row.f(of), "second": row.second(of), "h": row.weight(of.log())}
    for name, expected in (("f", f), ("second", second), ("h", h)):
        assert found[name].dtype == dtype
        # f itself cancels around 1 and, of the softened kinds, at large r.
        atol = tol * ratio if name == "f" else 0.0
        error = np.abs(found[name].numpy() - expected)
        assert (error <= tol * np.abs(expected) + atol).all(), name


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_weights_are_those_of_the_paper(name: str) -> None:
    ratio = torch.logspace(-3, 3, 13, dtype=torch.float64)
    expected = PUBLISHED[name](ratio)
    torch.testing.assert_close(DIVERGENCES[name].weight(ratio.log()), expected)


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("reverse-kl", "forward-kl"),
        ("softened-reverse-kl", "softened-forward-kl"),
        ("js", "js"),
        ("squared-hellinger", "squared-hellinger"),
        ("jeffreys", "jeffreys"),
    ],
)
@given(log_ratio=st.floats(-30, 30))
def test_the_mirror_image_swaps_the_distributions(name: str, mirror: str, log_ratio: float) -> None:
    """D_f(p || q) = D_g(q || p) with g(r) = r f(1 / r), whose weight is r h(1 / r)."""
    at = torch.tensor([log_ratio], dtype=torch.float64)
    expected = at + DIVERGENCES[name].log_weight(-at)
    torch.testing.assert_close(DIVERGENCES[mirror].log_weight(at), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_no_log_weight_overflows(name: str, dtype: torch.dtype) -> None:
    found = DIVERGENCES[name].log_weight(torch.tensor([-1e6, -200.0, 0.0, 200.0, 1e6], dtype=dtype))
    assert torch.isfinite(found).all()
    assert found.dtype == dtype


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_ones_own_f_has_the_weights_of_the_table(row: Divergence) -> None:
    log_ratio = torch.linspace(-8, 8, 33)
    own = divergence_named(row.f)
    torch.testing.assert_close(own.weight(log_ratio), row.weight(log_ratio), rtol=1e-4, atol=1e-7)
    assert own.log_weight(log_ratio).dtype == torch.float32


def test_ones_own_f_far_out() -> None:
    own = divergence_of(lambda r: r * r.log())
    found = own.log_weight(torch.tensor([-1e9, 1e9]))
    assert found.tolist() == [-100.0, 100.0]
    with torch.no_grad():
        assert own.weight(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


CANCEL = {  # as one writes them down, and where their digits are gone
    "js": (lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(), 30.0),
    "softened-reverse-kl": (lambda r: (r + 1) * ((r + 1) / (2 * r)).log(), 16.0),
}


@pytest.mark.parametrize("name", CANCEL)
def test_where_ones_own_f_loses_its_digits_no_weight_comes_of_it(name: str) -> None:
    f, end = CANCEL[name]
    own, refused = divergence_of(f, name), []
    for at in torch.linspace(0, 100, 401, dtype=torch.float64).split(1):
        try:
            found = own.log_weight(at)
        except ValueError as error:
            refused.append((float(at), "rounding" in str(error)))
        else:
            torch.testing.assert_close(found, DIVERGENCES[name].log_weight(at), rtol=0, atol=2e-3)
    assert all(by_rounding for _, by_rounding in refused)
    assert 0.7 * end < min(refused)[0] < 1.1 * end
    with pytest.raises(ValueError, match=r"(lost its digits|must be strictly convex).*rounding"):
        own.log_weight(torch.tensor([end + 10]))
    own.log_weight(torch.linspace(-100, 0, 401))  # nothing cancels there


@pytest.mark.parametrize(
    "f",
    [
        lambda r: r - 1 - r.log(),
        lambda r: r * r.log() - r + 1,
        lambda r: (r - 1) ** 2,
        lambda r: (r - 1) * r.log(),
        lambda r: 1 - r.sqrt(),
    ],
)
def test_what_does_not_cancel_is_taken_all_the_way(f: Any) -> None:
    at = torch.linspace(-100, 100, 801, dtype=torch.float64)
    assert torch.isfinite(divergence_of(f).log_weight(at)).all()


def test_the_alpha_family_has_the_others_at_its_limits() -> None:
    log_ratio = torch.linspace(-3, 3, 7, dtype=torch.float64)
    for alpha, name, factor in (
        (0.0, "reverse-kl", 1.0),
        (0.5, "squared-hellinger", 4.0),
        (1.0, "forward-kl", 1.0),
    ):
        expected = factor * DIVERGENCES[name].weight(log_ratio)
        torch.testing.assert_close(alpha_divergence(alpha).weight(log_ratio), expected)
    ratio = log_ratio.exp()
    for limit in (0.0, 1.0):
        near, at = alpha_divergence(limit + 1e-6), alpha_divergence(limit)
        torch.testing.assert_close(near.f(ratio), at.f(ratio), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_it_is_a_divergence(row: Divergence) -> None:
    """Of two distributions over three outcomes: none below 0, and 0 for equal ones."""
    p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    q = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    assert float((q * row.f(p / q)).sum()) > 0.01
    assert abs(float((p * row.f(p / p)).sum())) < 1e-12


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"one of reverse-kl, .*got 'kl'"):
        divergence_named("kl")
    with pytest.raises(ValueError, match="alpha must be finite, got nan"):
        alpha_divergence(math.nan)
    at = torch.tensor([0.0, math.log(2.0)])
    with pytest.raises(ValueError, match=r"strictly convex.* at r = 2 is -12"):
        divergence_of(lambda r: -(r**4) / 4).weight(at[1:])
    with pytest.raises(ValueError, match=r"'line' must be strictly convex.* at r = 1 is 0"):
        divergence_of(lambda r: 2 * r, "line").weight(at)
    with pytest.raises(ValueError, match=r"must be elementwise: of shape \(2,\) it made \(\)"):
        divergence_of(lambda r: r.sum()).weight(at)
