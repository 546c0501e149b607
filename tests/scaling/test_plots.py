"""Pictures show the data and what was fitted to it; that they are good to look at, no test says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from paperworks.scaling import (
    LearningCurve,
    coverage,
    fit_law,
    fit_log_linear,
    log_spaced,
    plots,
)


def drawn(figure: Figure) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(line.get_xdata(), line.get_ydata()) for line in figure.axes[0].lines]


def has(figure: Figure, x: Any, y: Any) -> bool:
    return any(
        a.shape == np.shape(x) and np.allclose(a, x) and np.allclose(b, y)
        for a, b in ((np.asarray(a), np.asarray(b)) for a, b in drawn(figure))
    )


def test_a_law_of_one_variable() -> None:
    x = np.geomspace(1, 100, 12)
    found = fit_law("power", {"x": x}, 3 * x**-0.5, resamples=20, rng=0)
    figure = plots.law_fit(found, points=[{"x": 1e4}], y="error")
    assert has(figure, x, 3 * x**-0.5)
    line, values = max(drawn(figure), key=lambda pair: len(pair[0]))
    np.testing.assert_allclose(values, found.predict({"x": line}).value)
    assert line.max() == pytest.approx(1e4)
    assert figure.axes[0].get_ylabel() == "error"


def test_a_law_of_two_variables_has_the_second_as_colour() -> None:
    rng = np.random.default_rng(0)
    size, tokens = np.exp(rng.uniform(10, 16, (2, 40)))
    loss = 1.8 + 480 * size**-0.35 + 2100 * tokens**-0.37
    found = fit_law("chinchilla", {"N": size, "D": tokens}, loss, resamples=20, rng=0)
    figure = plots.law_fit(found)
    dots = figure.axes[0].collections[0]
    np.testing.assert_allclose(dots.get_offsets(), np.stack([size, loss], 1))
    np.testing.assert_allclose(dots.get_array(), tokens)
    assert figure.axes[1].get_ylabel() == "D"


def test_a_learning_curve_with_what_is_needed() -> None:
    size = np.geomspace(10, 1e4, 15)
    curve = LearningCurve.fit(size, 2 * size**-0.4, resamples=20, rng=0)
    need = curve.data_for(0.01)
    figure = plots.learning_curves({"": curve}, needs={"": [need]}, unit="images")
    assert has(figure, size, curve.error)
    assert has(figure, [need.size], [0.01])
    assert figure.axes[0].get_xlabel() == "images"
    assert not has(plots.learning_curves({"": curve}), [need.size], [0.01])


def test_coverage_and_a_trend() -> None:
    n, c = np.full(30, 100), np.arange(30)
    curve = coverage(n, c, log_spaced(100), rng=0)
    marked = coverage(n, c, [1, 10, 100], rng=0)
    assert has(plots.coverage_curve(curve, marked=marked), marked.k, marked.coverage)
    frequency, accuracy = np.arange(1, 41), np.log10(np.arange(1, 41)) / 2
    trend = fit_log_linear(frequency, accuracy, rng=0)
    assert has(plots.concept_trend(frequency, accuracy, trend), frequency, accuracy)
