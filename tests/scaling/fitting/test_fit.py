"""Fits against known and published constants; intervals by simulation; doubts where they belong."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from paperworks.scaling.fitting import LAWS, fit_law
from paperworks.scaling.fitting.result import expanded_tail

CHINCHILLA = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}
OFFSET = {"E": 1.0, "A": 30.0, "alpha": 0.4}


def runs(rng: np.random.Generator, n: int, noise: float = 0.01) -> tuple[dict[str, Any], Any]:
    N, D = np.exp(rng.uniform(np.log(1e7), np.log(1e10), (2, n)))
    y = LAWS["chinchilla"](CHINCHILLA, {"N": N, "D": D})
    return {"N": N, "D": D}, y * np.exp(rng.normal(0, noise, n))


def published() -> tuple[Any, Any, Any]:
    root = os.environ.get("PAPERWORKS_DATA")
    path = Path(root or "", "scaling", "chinchilla_svg_extracted_data.csv")
    if not root or not path.is_file():
        pytest.skip("needs PAPERWORKS_DATA with scaling/chinchilla_svg_extracted_data.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    n = np.array([float(row["Model Size"]) for row in rows])
    d = np.array([float(row["Training FLOP"]) for row in rows]) / (6 * n)
    return n, d, np.array([float(row["loss"]) for row in rows])


def test_recovers_the_published_refit_of_chinchilla() -> None:
    """Besiroglu et al., arXiv 2404.10102, table 1: 240 of the runs, with Hoffmann's delta.

    They give E 1.82 (standard error 0.03), A 482.01 (124.58), B 2085.43 (1293.23), alpha 0.35
    (0.02) and beta 0.37 (0.02); the five runs left out are those of the fewest tokens.
    """
    n, d, loss = published()
    kept = np.argsort(d)[5:]
    found = fit_law("chinchilla", {"N": n[kept], "D": d[kept]}, loss[kept], delta=1e-3)
    p = found.parameters
    assert found.converged
    assert p["E"].value == pytest.approx(1.8172, abs=0.002)
    assert p["alpha"].value == pytest.approx(0.3478, abs=0.002)
    assert p["beta"].value == pytest.approx(0.3658, abs=0.004)
    assert p["A"].value == pytest.approx(482.01, rel=0.03)
    assert p["B"].value == pytest.approx(2085.43, rel=0.05)
    # Their standard errors are bootstrap ones too: our 95 % interval spans some four of them.
    for name, error in (("E", 0.03), ("alpha", 0.02), ("beta", 0.02)):
        assert 2 < (p[name].high - p[name].low) / error < 6


@pytest.mark.slow
@pytest.mark.parametrize(("n", "heavy"), [(12, True), (30, False)])
def test_intervals_hold_what_they_promise(n: int, heavy: bool) -> None:
    """95 % intervals of constants and of a prediction a hundred times beyond the data."""
    law, far = LAWS["power-offset"], {"x": 1e7}
    hits: dict[str, int] = {}
    repeats = 120
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        x = {"x": np.exp(rng.uniform(3, 12, n))}
        noise = rng.standard_t(3, n + 1) if heavy else rng.normal(0, 1, n + 1)
        y = law(OFFSET, x) * np.exp(0.01 * noise[:-1])
        found = fit_law(law, x, y, resamples=150, rng=seed)
        for name, each in found.parameters.items():
            hits[name] = hits.get(name, 0) + (each.low <= OFFSET[name] <= each.high)
        true = float(law(OFFSET, far))
        curve, one = found.predict(far), found.predict(far, new_run=True)
        hits["curve"] = hits.get("curve", 0) + bool(curve.low <= true <= curve.high)
        new = true * float(np.exp(0.01 * noise[-1]))
        hits["new run"] = hits.get("new run", 0) + bool(one.low <= new <= one.high)
    # An interval that holds 92 % falls below this bound once in a thousand times.
    least = binom.ppf(1e-3, repeats, 0.92)
    assert {name: count for name, count in hits.items() if count < least} == {}


def test_outliers_do_not_move_it() -> None:
    rng = np.random.default_rng(0)
    x, y = runs(rng, 80, 0.005)
    bad = y.copy()
    bad[:8] *= 1.5
    found = fit_law("chinchilla", x, bad, resamples=20)
    plain = fit_law("chinchilla", x, bad, resamples=20, delta=np.inf)
    clean = fit_law("chinchilla", x, y, resamples=20)
    far = {"N": 1e11, "D": 1e11}

    def off(fit: Any) -> float:
        return abs(float(np.log(fit(far) / clean(far))))

    assert off(found) < 0.01 < off(plain)


def test_rows_of_a_run_err_together() -> None:
    """Ten rows a run with one error for all: as rows, intervals are too narrow by a factor."""
    rng = np.random.default_rng(2)
    x = np.repeat(np.exp(rng.uniform(3, 12, 20)), 10)
    y = LAWS["power"]({"A": 3.0, "alpha": 0.3}, {"x": x}) * np.exp(
        np.repeat(rng.normal(0, 0.05, 20), 10)
    )
    run = np.repeat(np.arange(20), 10)
    alone = fit_law("power", {"x": x}, y).parameters["alpha"]
    together = fit_law("power", {"x": x}, y, groups=run)
    assert together.runs == 20
    width = together.parameters["alpha"].high - together.parameters["alpha"].low
    assert width > 2 * (alone.high - alone.low)


def test_a_prediction_knows_how_far_it_goes() -> None:
    x = np.geomspace(10, 1000, 12)
    found = fit_law("power", {"tokens": x}, 3 * x**-0.5, resamples=20)
    said = found.predict({"tokens": [[100.0, 1.0], [1e4, 1e5]]})
    assert said.value.shape == (2, 2)
    np.testing.assert_allclose(said.value, 3 * np.array([[100.0, 1.0], [1e4, 1e5]]) ** -0.5)
    np.testing.assert_allclose(said.beyond, [[1, 10], [10, 100]])
    np.testing.assert_allclose(found({"tokens": 100.0}), 0.3)


def test_a_share_is_fitted_in_its_own_unit() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1000, 20)
    y = np.clip(np.exp(-4 * x**-0.3) + rng.normal(0, 0.01, 20), 0, 1)
    y[0] = 0.0
    found = fit_law("exponentiated", {"k": x}, y, space="linear")
    p = found.parameters
    assert p["alpha"].low < 0.3 < p["alpha"].high
    said = found.predict({"k": 1e6})
    assert said.low <= np.exp(-4 * 1e6**-0.3) <= said.high


def test_what_the_data_cannot_say_is_said() -> None:
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(np.log(1e7), np.log(1e9), 40))
    y = LAWS["chinchilla"](CHINCHILLA, {"N": N, "D": 20 * N}) * np.exp(rng.normal(0, 0.01, 40))
    (together,) = [
        w for w in fit_law("chinchilla", {"N": N, "D": 20 * N}, y).warnings if "together" in w
    ]
    assert "N and D move together" in together
    narrow = fit_law("power", {"N": np.linspace(1, 2, 20)}, np.linspace(2, 1.5, 20))
    assert any("N spans a factor of 2 only" in w for w in narrow.warnings)
    x = np.geomspace(10, 1e4, 30)
    straight = 3 * x**-0.3 * np.exp(rng.normal(0, 0.02, 30))
    assert any("E" in w for w in fit_law("power-offset", {"x": x}, straight).warnings)
    rich = fit_law("m4", {"x": x}, straight, resamples=50)
    assert any("m4 may be too rich" in w or w.startswith("G is not det") for w in rich.warnings)
    assert len(rich.draws) == 50
    assert fit_law("power", {"x": x}, straight).warnings == ()


def test_the_expansion_is_that_of_students_t() -> None:
    """Hesterberg 2015: with one parameter and five runs a nominal tail of 2.5 % becomes 0.1 %."""
    assert expanded_tail(0.95, 5, 1) == pytest.approx(0.00096, abs=2e-5)
    assert expanded_tail(0.95, 10_000, 1) == pytest.approx(0.025, rel=1e-3)


def test_bad_input_is_named() -> None:
    x = np.geomspace(1, 100, 10)
    with pytest.raises(ValueError, match=r"y must be finite and > 0.* got 0\.0 in row 3"):
        fit_law("power", {"x": x}, np.where(np.arange(10) == 3, 0, x))
    with pytest.raises(ValueError, match=r"y must be finite.* got nan in row 2"):
        fit_law("power", {"x": x}, np.where(np.arange(10) == 2, np.nan, x), space="linear")
    with pytest.raises(ValueError, match="5 parameters and needs more than 5 runs, got 5"):
        fit_law("chinchilla", {"N": x[:5], "D": x[:5]}, x[:5])
    with pytest.raises(ValueError, match="no law is called 'linear'; there are power, "):
        fit_law("linear", {"x": x}, x)
    with pytest.raises(ValueError, match="groups must name the run of each of 10 rows"):
        fit_law("power", {"x": x}, x, groups=[1, 2])
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        fit_law("power", {"x": x}, x, confidence=95)
    with pytest.raises(ValueError, match="delta must be > 0, got 0"):
        fit_law("power", {"x": x}, x, delta=0)
    with pytest.raises(ValueError, match="y must be"):
        fit_law("power", {"x": x}, x[:3])
