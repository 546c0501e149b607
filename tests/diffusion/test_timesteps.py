from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperworks.diffusion.schedules import (
    EDM,
    VE,
    CosineVP,
    DiscreteVP,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.timesteps import SPACINGS, log_rho, power, power_of_rho, spaced, whole

SCHEDULES = [LinearVP(), CosineVP(), VE(), EDM(), FlowMatching(3.0), DiscreteVP.linear(50)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("steps", [1, 7, 49])
def test_times_fall_from_end_to_end(schedule: Schedule, spacing: str, steps: int) -> None:
    times = schedule.check(spaced(schedule, steps, spacing))
    assert times.shape == (steps + 1,)
    assert (times[0], times[-1]) == (schedule.t_max, schedule.t_min)


@pytest.mark.parametrize("schedule", SCHEDULES[:-1], ids=lambda s: type(s).__name__)
def test_what_is_equally_spaced(schedule: Schedule) -> None:
    """Each spacing's own function of the times has equal differences."""
    straight: dict[str, Any] = {
        "uniform": lambda t: t,
        "quadratic": np.sqrt,
        "logrho": lambda t: np.log(schedule.sigma(t) / schedule.alpha(t)),
        "karras": lambda t: (schedule.sigma(t) / schedule.alpha(t)) ** (1 / 7),
    }
    assert straight.keys() == SPACINGS.keys()
    for name, function in straight.items():
        steps = np.diff(function(spaced(schedule, 9, name)))
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-9)


def test_the_exponents() -> None:
    schedule = LinearVP(t_min=0.008)
    np.testing.assert_allclose(power(schedule, 2, exponent=3.0), [1, 0.216, 0.008], rtol=1e-12)
    rho = EDM(1.0, 16.0)
    np.testing.assert_allclose(power_of_rho(rho, 2, exponent=2.0), [16, 6.25, 1], rtol=1e-12)
    np.testing.assert_allclose(log_rho(rho, 2), [16, 4, 1], rtol=1e-12)


def test_karras_table() -> None:
    """Equation 5 of Karras et al., by itself."""
    i, n = np.arange(18), 18
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(spaced(EDM(), 17, "karras"), expected, rtol=1e-12)


@given(
    trained=st.integers(2, 60),
    part=st.floats(0.01, 1),
    exponent=st.sampled_from([0.3, 1.0, 2.0, 8.0]),
)
def test_whole_times_are_all_different_and_near(trained: int, part: float, exponent: float) -> None:
    schedule = DiscreteVP.linear(trained)
    steps = max(1, int(part * (trained - 1)))
    times = power(schedule, steps, exponent=exponent)
    found = whole(schedule, times)
    assert (np.diff(found) <= -1).all()
    assert (found == np.rint(found)).all()
    assert (found[0], found[-1]) == (trained - 1, 0)
    if (np.diff(np.rint(times)) <= -1).all():
        np.testing.assert_array_equal(found, np.rint(times))


def test_as_many_steps_as_there_are() -> None:
    assert spaced(DiscreteVP.linear(5), 4, "quadratic").tolist() == [4, 3, 2, 1, 0]
    assert spaced(DiscreteVP.linear(5), 4, "logrho").tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: spaced(LinearVP(), 5, "cosine"), r"one of uniform, .*; got 'cosine'"),
        (lambda: spaced(LinearVP(), 0), "steps must be at least 1, got 0"),
        (lambda: spaced(DiscreteVP.linear(5), 5), "trained on 5; ask for 4 steps or fewer"),
        (lambda: power(LinearVP(), 5, exponent=0), "exponent must be above 0, got 0"),
        (lambda: power_of_rho(LinearVP(), 5, exponent=-1), "exponent must be above 0, got -1"),
    ],
)
def test_bad_requests(call: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
