"""The kappas against their definitions, written again in NumPy, and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paperworks.training import lion_k

# Every kappa: its settings and its value, from the definition.
CASES = {
    "l1": ({}, lambda x: np.abs(x).sum()),
    "lp-1": ({"p": 1}, lambda x: np.abs(x).sum()),
    "lp-1.5": ({"p": 1.5}, lambda x: (np.abs(x) ** 1.5).sum() ** (1 / 1.5)),
    "lp-4": ({"p": 4}, lambda x: (np.abs(x) ** 4).sum() ** 0.25),
    "l2": ({}, lambda x: math.sqrt((x**2).sum())),
    "linf": ({}, lambda x: np.abs(x).max()),
    "topk": ({"k": 2}, lambda x: np.sort(np.abs(x).ravel())[-2:].sum()),
    "group": ({"dim": 0}, lambda x: sum(math.sqrt((r**2).sum()) for r in x)),
    "group-1": ({"dim": 1}, lambda x: sum(math.sqrt((c**2).sum()) for c in x.T)),
    "huber": (
        {"delta": 0.5},
        lambda x: sum(v * v if abs(v) < 0.5 else abs(v) - 0.25 for v in x.ravel()),
    ),
    "deadzone": ({"threshold": 0.3}, lambda x: sum(max(abs(v) - 0.3, 0) for v in x.ravel())),
    "relativistic": ({"eps": 0.7}, lambda x: sum(math.hypot(v, 0.7) for v in x.ravel())),
    "tanh": ({"scale": 0.6}, lambda x: 0.6 * np.log(np.cosh(x / 0.6)).sum()),
    "quadratic": ({}, lambda x: 0.5 * (x**2).sum()),
}
BALLS = sorted(set(CASES) - {"quadratic"})
every = pytest.mark.parametrize("case", sorted(CASES))
balls = pytest.mark.parametrize("case", BALLS)


def build(case: str) -> lion_k.Kappa:
    return lion_k.kappa(case.split("-")[0], **CASES[case][0])


def test_the_cases_cover_the_registry() -> None:
    assert {case.split("-")[0] for case in CASES} == set(lion_k.KAPPAS)


def matrices(width: int = 64) -> st.SearchStrategy[np.ndarray]:
    # Numbers of ordinary size and exact zeros; scale has a test of its own.
    entries = st.one_of(
        st.just(0.0), st.floats(0.0625, 8, width=32), st.floats(-8, -0.0625, width=32)
    )
    return hnp.arrays(np.float64 if width == 64 else np.float32, (2, 3), elements=entries)


@every
@settings(max_examples=30, deadline=None)
@given(x=matrices())
def test_value_is_its_definition(case: str, x: np.ndarray) -> None:
    expected = CASES[case][1](x)
    np.testing.assert_allclose(
        build(case).value(torch.from_numpy(x)), expected, rtol=1e-12, atol=1e-12
    )


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subgradient_inequality(case: str, dtype: torch.dtype) -> None:
    kappa, value = build(case), CASES[case][1]
    slack = 1e-4 if dtype == torch.float32 else 1e-11

    @settings(max_examples=50, deadline=None)
    @given(x=matrices(32), z=matrices(32))
    def check(x: np.ndarray, z: np.ndarray) -> None:
        s = kappa.subgradient(torch.from_numpy(x).to(dtype))
        assert s.dtype == dtype
        assert s.shape == x.shape
        s, x, z = s.double().numpy(), x.astype(float), z.astype(float)
        assert value(z) >= value(x) + (s * (z - x)).sum() - slack

    check()


def plane(radius: float = 12.0) -> np.ndarray:
    angle = np.linspace(0, 2 * math.pi, 361)
    length = np.concatenate([np.linspace(0, 1, 301), np.linspace(1, radius, 301)])
    return np.stack([np.outer(length, np.cos(angle)), np.outer(length, np.sin(angle))], -1).reshape(
        -1, 2
    )


# The definitions again, over many points of the plane at once; a point is a (1, 2) matrix.
PLANE = {
    "l1": lambda x: np.abs(x).sum(-1),
    "lp-1": lambda x: np.abs(x).sum(-1),
    "lp-1.5": lambda x: (np.abs(x) ** 1.5).sum(-1) ** (1 / 1.5),
    "lp-4": lambda x: (np.abs(x) ** 4).sum(-1) ** 0.25,
    "l2": lambda x: np.hypot(x[:, 0], x[:, 1]),
    "linf": lambda x: np.abs(x).max(-1),
    "topk": lambda x: np.abs(x).sum(-1),
    "group": lambda x: np.hypot(x[:, 0], x[:, 1]),
    "group-1": lambda x: np.abs(x).sum(-1),
    "huber": lambda x: np.where(np.abs(x) < 0.5, x**2, np.abs(x) - 0.25).sum(-1),
    "deadzone": lambda x: np.maximum(np.abs(x) - 0.3, 0).sum(-1),
    "relativistic": lambda x: np.hypot(x, 0.7).sum(-1),
    "tanh": lambda x: 0.6 * np.log(np.cosh(x / 0.6)).sum(-1),
    "quadratic": lambda x: 0.5 * (x**2).sum(-1),
}


@every
def test_conjugate_is_the_supremum(case: str) -> None:
    kappa, points = build(case), plane()
    values = PLANE[case](points)
    rng = np.random.default_rng(0)
    outside = 0
    for y in rng.uniform(-1.4, 1.4, (40, 2)):
        if case != "quadratic" and abs(float(kappa.gauge(torch.tensor([list(y)]))) - 1) < 0.05:
            continue  # so close to the boundary that the supremum lies beyond the grid
        brute = (points @ y - values).max()
        found = float(kappa.conjugate(torch.tensor([list(y)], dtype=torch.float64)))
        if math.isinf(found):
            outside += 1
            assert brute > 0.3  # and grows with the radius:
            assert (points[points[:, 0] ** 2 + points[:, 1] ** 2 < 36] @ y).max() < (
                points @ y
            ).max()
            inner = (np.hypot(*points.T) < 6.01).nonzero()[0]
            assert brute > (points[inner] @ y - values[inner]).max() + 0.1
        else:
            assert found == pytest.approx(brute, abs=4e-3)
    assert (outside > 5) == (case != "quadratic")


@every
@settings(max_examples=25, deadline=None)
@given(x=matrices())
def test_fenchel_equality(case: str, x: np.ndarray) -> None:
    kappa, t = build(case), torch.from_numpy(x)
    s = kappa.subgradient(t)
    gap = kappa.value(t) + kappa.conjugate(s) - (s * t).sum()
    assert abs(float(gap)) < 1e-10
    # The default value of a kappa of one's own comes from this equality.
    own = lion_k.CustomKappa(kappa.subgradient, kappa.conjugate)
    assert float(own.value(t)) == pytest.approx(float(kappa.value(t)), abs=1e-10)


@balls
def test_gauge_ends_the_domain_and_distance_is_reached(case: str) -> None:
    kappa = build(case)
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 4)))
    boundary = y / kappa.gauge(y)
    assert math.isfinite(kappa.conjugate(boundary * (1 - 1e-9)))
    assert math.isinf(kappa.conjugate(boundary * 1.001))
    decay = 0.25
    distance = kappa.distance(y * 20, decay)
    nearest = boundary / decay
    assert float(distance) == pytest.approx(float(kappa.gauge(y * 20 - nearest)), rel=1e-12)
    assert kappa.distance(nearest * 0.999, decay) == 0


def test_distance_of_lion_is_the_largest_excess() -> None:
    x = torch.tensor([[3.0, -7.0], [1.0, 4.5]])
    assert float(lion_k.kappa("l1").distance(x, 0.25)) == 3.0
    assert float(lion_k.kappa("l1").distance(x, 0.0)) == 0.0
    assert float(lion_k.kappa("quadratic").distance(x, 0.25)) == 0.0


def test_penalty() -> None:
    x = torch.tensor([1.0, -0.5])
    assert float(lion_k.kappa("quadratic").penalty(x, 0.5)) == pytest.approx(0.25 * 1.25)
    assert float(lion_k.kappa("deadzone", threshold=0.2).penalty(x, 0.5)) == pytest.approx(0.3)
    assert math.isinf(lion_k.kappa("l1").penalty(x, 2.0))
    with pytest.raises(ValueError, match="weight_decay > 0"):
        lion_k.kappa("l1").penalty(x, 0.0)
    with pytest.raises(ValueError, match=r"weight_decay must be finite and >= 0, got -1"):
        lion_k.kappa("l1").penalty(x, -1)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_in_place_and_foreach_agree(case: str, dtype: torch.dtype) -> None:
    kappa = build(case)
    xs = [
        torch.randn(3, n, generator=torch.Generator().manual_seed(n)).to(dtype) for n in (1, 5, 40)
    ]
    expected = [kappa.subgradient(x) for x in xs]
    copies = [x.clone() for x in xs]
    kappa.foreach_subgradient_(copies)
    for x, copy, s in zip(xs, copies, expected, strict=True):
        assert s.dtype == dtype
        assert torch.equal(copy, s)
        assert not torch.equal(x, s) or case == "quadratic"
        assert torch.equal(kappa.subgradient_(x), s)
        assert torch.equal(x, s)


@pytest.mark.parametrize("case", ["l2", "lp-1.5", "lp-4", "group"])
@pytest.mark.parametrize("scale", [1e-38, 1e-25, 1e25])
def test_norms_keep_the_direction_of_tiny_and_huge_gradients(case: str, scale: float) -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    s = build(case).subgradient(x * scale)
    # Below 1e-37 float32 itself loses digits.
    torch.testing.assert_close(s, build(case).subgradient(x), rtol=1e-5, atol=1e-6)
    assert float(build(case).gauge(s)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_norms_do_not_overflow(dtype: torch.dtype) -> None:
    x = torch.full((300, 300), 300.0, dtype=dtype)
    for case in ("l2", "lp-1.5", "group"):
        s = build(case).subgradient(x).double()
        assert float(build(case).gauge(s)) == pytest.approx(1, rel=2e-2)


def test_special_cases_agree() -> None:
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    same = torch.testing.assert_close
    same(lion_k.kappa("lp", p=2).subgradient(x), lion_k.kappa("l2").subgradient(x))
    same(lion_k.kappa("topk", k=999).subgradient(x), x.sign())
    same(lion_k.kappa("topk", k=1).subgradient(x), lion_k.kappa("linf").subgradient(x))
    same(lion_k.kappa("group").subgradient(x[0]), x[0].sign())
    same(lion_k.kappa("group", dim=-1).subgradient(x), lion_k.kappa("group", dim=1).subgradient(x))
    same(lion_k.kappa("tanh", scale=1e-9).subgradient(x), x.sign())
    tie = lion_k.kappa("linf").subgradient(torch.tensor([2.0, -2.0, 1.0, 0.0]))
    assert tie.tolist() == [0.5, -0.5, 0.0, 0.0]


@every
def test_permuting_the_entries_of_a_row_permutes_the_subgradient(case: str) -> None:
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    kappa = build(case)
    torch.testing.assert_close(kappa.subgradient(x[:, order]), kappa.subgradient(x)[:, order])


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("l3", {}, r"no kappa is called 'l3'; there are l1, lp"),
        ("l1", {"p": 2}, r"kappa 'l1' takes no settings; got 'p'"),
        ("lp", {"k": 2}, r"kappa 'lp' takes p; got 'k'"),
        ("lp", {"p": 0.5}, r"p must be a number >= 1 for a norm, got 0.5"),
        ("lp", {"p": math.nan}, r"p must be a number >= 1"),
        ("lp", {"p": math.inf}, r"use kappa 'linf'"),
        ("topk", {"k": 0}, r"k must be an integer >= 1, got 0"),
        ("topk", {"k": 1.5}, r"k must be an integer >= 1, got 1.5"),
        ("group", {"dim": 0.5}, r"dim must be an integer, got 0.5"),
        ("huber", {"delta": 0}, r"delta must be a finite number > 0, got 0"),
        ("deadzone", {"threshold": -1}, r"threshold must be a finite number > 0, got -1"),
        ("relativistic", {"eps": math.inf}, r"eps must be a finite number > 0, got inf"),
        ("tanh", {"scale": True}, r"scale must be a finite number > 0, got True"),
    ],
)
def test_bad_settings(name: str, given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lion_k.kappa(name, **given)


def test_a_group_along_a_missing_dimension_says_so() -> None:
    with pytest.raises(ValueError, match=r"dim=2, but a parameter has shape \(3, 4\)"):
        lion_k.kappa("group", dim=2).subgradient(torch.ones(3, 4))


def test_a_kappa_of_ones_own_says_what_it_lacks() -> None:
    own = lion_k.CustomKappa(torch.sign)
    with pytest.raises(NotImplementedError, match="has no conjugate"):
        own.conjugate(torch.ones(2))
    with pytest.raises(NotImplementedError, match="has no gauge"):
        own.distance(torch.ones(2), 0.1)
