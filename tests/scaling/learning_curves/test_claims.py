"""The rivals of the claims, the published numbers, and the learners behind the curves."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from scipy.optimize._numdiff import approx_derivative

from paperworks.claims import learning_curves as claims
from paperworks.claims._learners import LEARNERS, Task, load_task
from paperworks.scaling.fitting.laws import LAWS

# Alabdulmohsin et al., arXiv 2209.06640, tables 2 and 3: extrapolation RMSE of M1, two digits. The
# page has all curves and methods side by side, and says why the others differ.
PUBLISHED = {
    ("NMT", "log_perplexity", "28 Enc, 6 Dec"): 1.7e-1,
    ("NMT", "log_perplexity", "TEnc-LSTM"): 1.9e-1,
    ("LM", "val_loss", "1.07e+09"): 1.7e-2,
    ("BB", "('date', '1-shot')", "262M"): 3.2e-2,
    ("BB", "('unit', '1-shot')", "262M"): 8.3e-3,
}


@pytest.mark.parametrize("curve", PUBLISHED, ids=str)
def test_published_errors(curve: tuple[str, str, str]) -> None:
    domain, task, model = curve
    found = claims.benchmark(seed=0, device="cpu", domain=domain, task=task, model=model)
    assert float(f"{found.values[claims.M1]:.1e}") == PUBLISHED[curve]
    assert {each.label for each in found.curves} == {"measured", *found.values}


def test_the_benchmark_is_all_there() -> None:
    rows = claims.published("language")
    curves = {(row["Domain"], row["Task"], row["Model"]) for row in rows}
    (claim,) = (each for each in claims.CLAIMS if each.name == "benchmark")
    assert {tuple(work.values()) for work in claim.quick.works} == curves
    assert len(claim.full.works) == 92


@pytest.mark.skipif("PAPERWORKS_DATA" not in os.environ, reason="set PAPERWORKS_DATA")
def test_the_image_curves_are_those_of_the_claim() -> None:
    rows = claims.published("IC")
    (claim,) = (each for each in claims.CLAIMS if each.name == "benchmark")
    known = {(row["Domain"], row["Task"], row["Model"]) for row in rows}
    assert {tuple(work.values()) for work in claim.full.works} == known
    values = claims.benchmark(
        seed=0, device="cpu", domain="IC", task="bird_10", model="BiT/101/3"
    ).values
    # By hand for M1: a straight line through the points marked for it.
    mine = [row for row in rows if (row["Task"], row["Model"]) == ("bird_10", "BiT/101/3")]
    part = {flag: [r for r in mine if r["Training"] == flag] for flag in "01"}
    x, y = ({f: np.log([float(r[c]) for r in part[f]]) for f in "01"}
            for c in ("Seen Examples", "Loss"))  # fmt: skip
    line = np.polyval(np.polyfit(x["1"], y["1"], 1), x["0"])
    assert values[claims.M1] == pytest.approx(float(np.sqrt(np.mean((line - y["0"]) ** 2))))


def test_m3_by_its_formula_and_derivatives() -> None:
    law, x = claims.flattening(), np.geomspace(10, 1e5, 7)
    theta = np.array([math.log(3.0), 0.4, math.log(1e-4)])
    expected = 3 * (1 / x + 1e-4) ** 0.4
    np.testing.assert_allclose(claims.at(law, theta, x), expected)
    logx = np.log(x)[:, None]
    numeric = approx_derivative(lambda t: law.evaluate(t[None], logx)[0][0], theta)
    np.testing.assert_allclose(law.evaluate(theta[None], logx)[1][0], numeric, rtol=1e-5, atol=1e-7)


def test_m4_with_chance_given_is_m4() -> None:
    law, x = claims.m4_below(1.0), np.geomspace(10, 1e7, 7)
    theta = np.array([math.log(0.1), math.log(0.7), math.log(5.0), 0.3])
    y = claims.at(law, theta, x)
    # (y - E) / (1 - y)^a = A x^-alpha, the equation that defines it.
    np.testing.assert_allclose((y - 0.1) / (1 - y) ** 0.7, 5 * x**-0.3, rtol=1e-9)
    free = {"E": 0.1, "G": 0.9, "a": 0.7, "A": 5.0, "alpha": 0.3}
    np.testing.assert_allclose(y, LAWS["m4"](free, {"x": x}), rtol=1e-9)
    logx = np.log(x)[:, None]
    numeric = approx_derivative(lambda t: law.evaluate(t[None], logx)[0][0], theta)
    np.testing.assert_allclose(law.evaluate(theta[None], logx)[1][0], numeric, rtol=1e-5, atol=1e-7)
    assert (law.start(logx, y)[:, 0] < math.log(min(y.min(), 1.0))).all()


def test_decay_and_line_fit_what_they_are() -> None:
    x = np.geomspace(16, 256, 5)
    decay = claims.decay(x, 0.1 + 0.7 * np.exp(-x / 80))
    np.testing.assert_allclose(decay(np.array([512.0])), 0.1 + 0.7 * np.exp(-512 / 80), rtol=1e-4)
    line = claims.line(x, 0.9 - 0.1 * np.log(x))
    np.testing.assert_allclose(line(np.array([1000.0])), 0.9 - 0.1 * np.log(1000))


def blobs(n: int, seed: int = 0) -> Task:
    """Two classes that a line parts."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n + 500)
    x = rng.standard_normal((n + 500, 6)).astype(np.float32)
    x[:, 0] += 3.0 * y
    return Task(x[:n], y[:n], x[n:], y[n:], 2)


@pytest.mark.parametrize("learner", LEARNERS)
def test_learners_learn(learner: str) -> None:
    """Their error nears the best that there is: Phi(-1.5), 6.7 %."""
    error = LEARNERS[learner](blobs(2000), 24, [16, 128, 2000], 0, "cpu", 200)
    assert error.shape == (3,)
    assert error[0] > error[2]
    assert error[2] == pytest.approx(0.067, abs=0.035)
    again = LEARNERS[learner](blobs(2000), 24, [16, 128, 2000], 0, "cpu", 200)
    np.testing.assert_array_equal(again, error)


def test_a_subset_sees_no_more_than_its_part() -> None:
    """Labels beyond the subset are spoilt, and nothing changes."""
    task = blobs(256)
    spoilt = Task(task.x, task.y.copy(), task.x_test, task.y_test, 2)
    spoilt.y[64:] = 1 - spoilt.y[64:]
    for learner in LEARNERS.values():
        first = learner(task, 8, [32, 64, 256], 0, "cpu", 50)
        other = learner(spoilt, 8, [32, 64, 256], 0, "cpu", 50)
        np.testing.assert_array_equal(first[:2], other[:2])
        assert other[2] > first[2]


def test_ridge_is_scikit_learns() -> None:
    """The same features, penalty and subset, by another solver."""
    from sklearn.linear_model import Ridge

    task = blobs(300)
    ours = LEARNERS["random features"](task, 20, [300], 3, "cpu", 0)[0]
    import torch

    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 20, generator=generator) / math.sqrt(6)
    offset = torch.randn(20, generator=generator)

    def features(x: np.ndarray) -> np.ndarray:
        return torch.relu(torch.from_numpy(x) @ weight + offset).double().numpy()

    errors, left = [], []
    target = np.eye(2)[task.y]
    z = features(task.x)
    for penalty in 10.0 ** np.arange(-4, 2):
        # Leave-one-out by refitting, for a tenth of the points.
        missed = []
        for i in range(0, 300, 10):
            keep = np.arange(300) != i
            model = Ridge(penalty * 300).fit(z[keep], target[keep])
            missed.append(((model.predict(z[i : i + 1]) - target[i]) ** 2).mean())
        left.append(np.mean(missed))
        model = Ridge(penalty * 300).fit(z, target)
        guess = model.predict(features(task.x_test)).argmax(1)
        errors.append(np.mean(guess != task.y_test))
    assert ours == pytest.approx(errors[int(np.argmin(left))], abs=0.005)


def test_tasks_are_shuffled_and_centred() -> None:
    task = load_task("digits", 3)
    assert task.x.shape == (1437, 64)
    assert task.chance == pytest.approx(0.9)
    assert abs(float(task.x.mean())) < 1e-4
    assert np.bincount(task.y[:200], minlength=10).min() > 5
    assert not np.array_equal(task.y, load_task("digits", 4).y)
