"""What is held out is the largest, and the law that made the data comes first."""

from __future__ import annotations

import numpy as np
import pytest

from paperworks.scaling.fitting import LAWS, compare_laws, hold_out_largest

X = np.geomspace(1e2, 1e7, 40)


def test_the_largest_are_held_out_and_never_seen() -> None:
    y = LAWS["power"]({"A": 3.0, "alpha": 0.3}, {"x": X})
    order = np.random.default_rng(0).permutation(40)
    spoiled = y[order].copy()
    largest = np.argsort(X[order])[-10:]
    spoiled[largest] *= 7  # were they seen, the fit would not be exact
    held = hold_out_largest("power", {"D": X[order]}, spoiled, resamples=20)
    assert set(np.flatnonzero(held.held_out)) == set(largest)
    assert held.fit.parameters["alpha"].value == pytest.approx(0.3, rel=1e-6)
    assert held.rms == pytest.approx(np.log(7), rel=1e-6)
    assert held.bias == pytest.approx(-np.log(7), rel=1e-6)
    assert held.covered == 0


def test_size_is_the_product_or_a_variable() -> None:
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(np.log(1e7), np.log(1e10), (2, 40)))
    p = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}
    y = LAWS["chinchilla"](p, {"N": N, "D": D})
    held = hold_out_largest("chinchilla", {"N": N, "D": D}, y, resamples=20)
    assert (N * D)[held.held_out].min() > (N * D)[~held.held_out].max()
    by_n = hold_out_largest("chinchilla", {"N": N, "D": D}, y, by="N", resamples=20)
    assert N[by_n.held_out].min() > N[~by_n.held_out].max()
    with pytest.raises(ValueError, match="by must be one of N, D, got 'C'"):
        hold_out_largest("chinchilla", {"N": N, "D": D}, y, by="C")


def test_equal_sizes_and_rows_of_a_run_stay_together() -> None:
    x = np.repeat([1e2, 1e3, 1e4, 1e5, 1e6], 4)
    y = 3 * x**-0.3
    assert hold_out_largest("power", {"x": x}, y, fraction=0.05, resamples=20).held_out.sum() == 4
    steps = np.tile([1.0, 10.0, 100.0], 6)
    run = np.repeat(np.arange(6), 3)
    N = 10.0 ** (2 + run)
    held = hold_out_largest(
        "encoder-decoder",
        {"Ne": N, "Nd": steps},
        1 + N**-0.2 * steps**-0.3,
        groups=run,
        fraction=0.2,
        resamples=20,
    )
    assert set(run[held.held_out]) == {5}
    assert held.held_out.sum() == 3


def test_the_law_of_the_data_wins() -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.005, 40))
    rivals = ["power", "power-offset", "m4", "broken"]
    for name, p in (
        ("power-offset", {"E": 0.5, "A": 30.0, "alpha": 0.5}),
        ("broken", {"E": 1e-6, "A": 3.0, "alpha": 0.05, "beta": 0.4, "d": 1e4, "s": 0.3}),
    ):
        y = LAWS[name](p, {"x": X}) * noise
        found = compare_laws(rivals, {"x": X}, y, resamples=20)
        errors = {law: held.rms for law, held in found.ranked.items()}
        assert list(errors.values()) == sorted(errors.values())
        assert errors[name] < 0.03 < errors["power"]


def test_a_law_that_cannot_be_fitted_is_named() -> None:
    x = np.geomspace(1, 100, 7)
    found = compare_laws(["power", "broken"], {"x": x}, x**-0.5, resamples=20)
    assert list(found.ranked) == ["power"]
    assert "needs more than 6 runs, got 5" in found.failed["broken"]
    with pytest.raises(ValueError, match="needs more than 6 runs"):
        compare_laws(["broken"], {"x": x}, x**-0.5)
    with pytest.raises(ValueError, match="fraction must be between 0 and 1, got 2"):
        hold_out_largest("power", {"x": x}, x, fraction=2)
    with pytest.raises(ValueError, match="equally large"):
        hold_out_largest("power", {"x": np.ones(9)}, np.ones(9))
