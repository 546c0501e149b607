"""The laws against their formulas, and their derivatives against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paperworks.scaling.fitting import LAWS
from paperworks.scaling.fitting.fit import best_fit
from paperworks.scaling.fitting.law import log_variables

TRUE: dict[str, dict[str, float]] = {
    "power": {"A": 3.0, "alpha": 0.3},
    "power-offset": {"E": 0.2, "A": 5.0, "alpha": 0.4},
    "m4": {"E": 0.1, "G": 2.0, "a": 1.5, "A": 30.0, "alpha": 0.45},
    "broken": {"E": 0.01, "A": 3.0, "alpha": 0.1, "beta": 0.5, "d": 3e3, "s": 0.4},
    "exponentiated": {"A": 4.0, "alpha": 0.3},
    "chinchilla": {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37},
    "kaplan": {"A": 6.4e13**0.8, "alpha": 0.076, "B": 1.8e13, "beta": 0.095},
    "encoder-decoder": {"E": 1.0, "A": 90.0, "pe": 0.2, "pd": 0.3},
}


def formula(name: str, p: dict[str, float], *x: Any) -> Any:
    """y straight from the formulas; M4 as the difference of its two sides."""
    match name:
        case "power":
            return p["A"] * x[0] ** -p["alpha"]
        case "power-offset":
            return p["E"] + p["A"] * x[0] ** -p["alpha"]
        case "broken":
            bend = (1 + (x[0] / p["d"]) ** (1 / p["s"])) ** (-p["beta"] * p["s"])
            return p["E"] + p["A"] * x[0] ** -p["alpha"] * bend
        case "exponentiated":
            return np.exp(-p["A"] * x[0] ** -p["alpha"])
        case "chinchilla":
            return p["E"] + p["A"] * x[0] ** -p["alpha"] + p["B"] * x[1] ** -p["beta"]
        case "kaplan":
            return (p["A"] * x[0] ** -(p["alpha"] / p["beta"]) + p["B"] / x[1]) ** p["beta"]
        case "encoder-decoder":
            return p["E"] + p["A"] * x[0] ** -p["pe"] * x[1] ** -p["pd"]
    raise KeyError(name)


def points(name: str, n: int = 40) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    low, high = (1e7, 1e10) if len(LAWS[name].variables) > 1 else (10, 1e6)
    return {
        variable: np.exp(rng.uniform(np.log(low), np.log(high), n))
        for variable in LAWS[name].variables
    }


def test_every_law_is_tested() -> None:
    assert set(TRUE) == set(LAWS)


@pytest.mark.parametrize("name", TRUE)
def test_a_law_is_its_formula(name: str) -> None:
    law, x = LAWS[name], points(name)
    y = law(TRUE[name], x)
    if name == "m4":
        p = TRUE[name]
        left = (y - p["E"]) / (p["E"] + p["G"] - y) ** p["a"]
        np.testing.assert_allclose(left, p["A"] * x["x"] ** -p["alpha"], rtol=1e-9)
    else:
        np.testing.assert_allclose(y, formula(name, TRUE[name], *x.values()), rtol=1e-12)


@pytest.mark.parametrize("name", TRUE)
def test_the_jacobian_is_that_of_differences(name: str) -> None:
    law = LAWS[name]
    logx, _ = log_variables(law, points(name, 9))
    centre = law.theta(TRUE[name])
    theta = centre + np.random.default_rng(0).normal(0, 0.02, (3, len(centre)))
    _, jacobian = law.evaluate(theta, logx)
    for i in range(theta.shape[1]):
        h = 1e-6 * np.eye(theta.shape[1])[i]
        difference = (law.evaluate(theta + h, logx)[0] - law.evaluate(theta - h, logx)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[..., i], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", TRUE)
def test_the_starts_lead_to_the_constants(name: str) -> None:
    law, x = LAWS[name], points(name, 80)
    logx, _ = log_variables(law, x)
    y = law(TRUE[name], x)
    theta, converged, _ = best_fit(law, logx, y, law.start(logx, y), 0.01, "log")
    found = {p.name: float(p.values(theta[i])) for i, p in enumerate(law.parameters)}
    assert converged
    assert found == pytest.approx(TRUE[name], rel=1e-4)


def test_units_do_not_matter() -> None:
    """In millions or in ones: the same curve, from starts that are made from the data."""
    x = points("chinchilla", 80)
    y = LAWS["chinchilla"](TRUE["chinchilla"], x)
    law = LAWS["chinchilla"]
    for unit in (1e-6, 1.0, 1e6):
        logx, _ = log_variables(law, {name: column * unit for name, column in x.items()})
        theta, _, _ = best_fit(law, logx, y, law.start(logx, y), 0.01, "log")
        np.testing.assert_allclose(np.exp(law.evaluate(theta[None], logx)[0][0]), y, rtol=1e-6)
        assert theta[2] == pytest.approx(0.35, rel=1e-3)


def test_a_law_by_other_names() -> None:
    law = LAWS["chinchilla"].over("params", "tokens")
    assert law.formula == "y = E + A params^-alpha + B tokens^-beta"
    assert float(law(TRUE["chinchilla"], {"params": 1e8, "tokens": 1e9})) == pytest.approx(
        float(formula("chinchilla", TRUE["chinchilla"], 1e8, 1e9))
    )
    with pytest.raises(ValueError, match="takes 2 variable"):
        law.over("N")


def test_bad_values_are_named() -> None:
    law = LAWS["power"]
    with pytest.raises(ValueError, match=r"x must be finite and > 0, got -1\.0"):
        law(TRUE["power"], {"x": [1.0, -1.0]})
    with pytest.raises(ValueError, match="x is missing from D"):
        law(TRUE["power"], {"D": [1.0]})
    with pytest.raises(ValueError, match="has the parameters A, alpha"):
        law({"A": 1.0}, {"x": 1.0})
    with pytest.raises(ValueError, match="alpha must be between -20 and 20, got 30"):
        law({"A": 1.0, "alpha": 30.0}, {"x": 1.0})
    with pytest.raises(ValueError, match="shapes that do not go together"):
        LAWS["chinchilla"](TRUE["chinchilla"], {"N": [1.0, 2.0], "D": [1.0, 2.0, 3.0]})
