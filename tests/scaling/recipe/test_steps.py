"""The steps of the recipe on runs made from published constants."""

from __future__ import annotations

import numpy as np
import pytest
from published_runs import KAPLAN, LADDER, SIZES, SU, made

from paperworks.scaling import (
    MissingRunsError,
    RunLog,
    TrajectoryLaw,
    fit_critical_batch,
    fit_data_law,
    fit_size_law,
    fit_steps_law,
    fit_trajectory,
)

BOTH = pytest.mark.parametrize("constants", [KAPLAN, SU], ids=["Kaplan", "Su"])


@BOTH
def test_published_constants_step_by_step(constants: dict[str, float]) -> None:
    log = made(constants, rows=40)
    found = fit_steps_law(log, fit_critical_batch(log, resamples=50), resamples=50)
    assert found.converged
    for name, value in constants.items():
        got = found.parameters[name].value
        rel = 0.1 if name in ("N_c", "B_star") else 0.01
        assert got == pytest.approx(value, rel=rel), name
    law = TrajectoryLaw(**constants)
    S = np.geomspace(1e3, 3e5, 9)
    said = found.predict({"N": 3.3e10, "S": S, "B": 4e6}).value  # 550 times the largest run
    np.testing.assert_allclose(said, law.loss(3.3e10, S, 4e6), rtol=5e-3)


@BOTH
def test_published_constants_at_once(constants: dict[str, float]) -> None:
    found = fit_trajectory(made(constants), resamples=30)
    assert found.converged
    for name, value in constants.items():
        assert found.parameters[name].value == pytest.approx(value, rel=1e-4), name


def test_converged_sizes_come_first() -> None:
    """With a size law given, the paper's order, N_c and alpha_N are its own to the last digit."""
    log = made(SU)
    law = TrajectoryLaw(**SU)
    N = np.repeat([3e5, 1e6, 4e6, 1.6e7], 2)
    long = RunLog(N, N, 2**22, np.tile([5e8, 1e9], 4), law.loss(N, np.tile([5e8, 1e9], 4), 2**22))
    size = fit_size_law(long)
    assert size.parameters["alpha"].value == pytest.approx(SU["alpha_N"], rel=1e-3)
    N_c = np.exp(size.theta[0] / size.theta[1])
    assert N_c == pytest.approx(SU["N_c"], rel=0.02)
    found = fit_steps_law(log, fit_critical_batch(log, resamples=20), size=size, resamples=20)
    assert found.parameters["N_c"].value == pytest.approx(N_c, rel=1e-9)
    assert found.parameters["alpha_N"].value == pytest.approx(size.theta[1], rel=1e-12)
    assert found.parameters["alpha_S"].value == pytest.approx(SU["alpha_S"], rel=0.02)


def test_size_law_asks_for_longer_runs() -> None:
    with pytest.raises(MissingRunsError) as caught:
        fit_size_law(made(SU, SIZES, last=3e3))
    assert caught.value.step == "the size law"
    sizes, longer = caught.value.needs
    assert sizes == "converged runs of 3 more model sizes"
    assert longer.startswith("longer runs: N")
    assert "1.0% is the most" in longer


def test_size_law_by_least_squares_and_its_interval() -> None:
    """Five sizes with errors of 1 %: a line in logs by NumPy, and most of the intervals."""
    N = np.repeat(np.geomspace(1e5, 1e8, 5), 2)
    inside = 0
    for seed in range(40):
        luck = np.repeat(np.random.default_rng(seed).normal(0, 0.01, 5), 2)
        log = RunLog(N, N, 512, np.tile([1e5, 2e5], 5), (8.8e13 / N) ** 0.076 * np.exp(luck))
        alpha = fit_size_law(log).parameters["alpha"]
        inside += alpha.low < 0.076 < alpha.high
    assert inside >= 32  # of 95 % intervals; the 1 % point of a binomial of 0.92 lies there
    slope = np.polyfit(np.log(log.N), np.log(log.loss), 1)[0]
    assert alpha.value == pytest.approx(-slope, rel=0.1)


def test_size_law_ignores_overfitting() -> None:
    N = np.repeat([1e6, 4e6, 1.6e7], 3)
    S = np.tile([5e4, 1e5, 2e5], 3)
    loss = (8.8e13 / N) ** 0.076 * np.where(S > 1e5, 1 + 1e6 / N, 1.0)
    log = RunLog(N, N, 512, S, loss, np.full(9, 512 * 1e5))
    assert fit_size_law(log).parameters["alpha"].value == pytest.approx(0.076, rel=1e-6)


def test_data_law_takes_the_least_loss() -> None:
    """Equation 1.2 of Kaplan et al.: D_c = 5.4e13, alpha_D = 0.095, with runs that overfit."""
    D = np.repeat([1e7, 1e8, 1e9, 1e10], 4)
    shape = np.tile([1.3, 1.05, 1.0, 1.2], 4)
    log = RunLog(D, 1e9, 2**19, np.tile([1e3, 1e4, 1e5, 2e5], 4), (5.4e13 / D) ** 0.095 * shape, D)
    found = fit_data_law(log)
    assert found.parameters["alpha"].value == pytest.approx(0.095, rel=1e-6)
    D_c = found.parameters["A"].value ** (1 / found.parameters["alpha"].value)
    assert D_c == pytest.approx(5.4e13, rel=1e-4)


def test_data_law_asks() -> None:
    with pytest.raises(MissingRunsError, match="the data law needs the column dataset"):
        fit_data_law(made(SU))
    D = np.repeat([1e7, 1e8, 1e9], 2)
    falling = RunLog(D, 1e9, 512, np.tile([1e3, 1e4], 3), np.tile([5.0, 4.0], 3), D)
    with pytest.raises(MissingRunsError, match="3 more sizes of training set; and longer runs"):
        fit_data_law(falling)


def test_steps_law_asks() -> None:
    log = made(SU)
    critical = fit_critical_batch(log, resamples=10)
    with pytest.raises(MissingRunsError, match="curves of 2 more model sizes"):
        fit_steps_law(made(SU, LADDER), critical)
    with pytest.raises(MissingRunsError, match="2 more runs with 3 usable rows"):
        fit_steps_law(made(SU, SIZES), critical)
    with pytest.raises(MissingRunsError, match="there is none"):
        fit_steps_law(log, critical, from_step=1e9)
    with pytest.raises(MissingRunsError, match="5 more runs with 3 usable rows"):
        fit_steps_law(log, critical, from_step=9e4)


def test_trajectory_asks() -> None:
    with pytest.raises(MissingRunsError, match=r"at 2 more batch sizes .*; and curves of 1 more"):
        fit_trajectory(made(SU, SIZES[:2]))


def test_rows_of_the_warm_up_do_not_count() -> None:
    log = made(SU)
    spoilt = RunLog(log.run, log.N, log.B, log.S, np.where(log.S < 2e3, 9.0, log.loss))
    one = fit_trajectory(spoilt, from_step=2e3, resamples=10)
    assert one.parameters["alpha_S"].value == pytest.approx(SU["alpha_S"], rel=1e-4)
    assert one.y.size == int((log.S >= 2e3).sum())
