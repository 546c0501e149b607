from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import (
    EDM,
    VE,
    CosineVP,
    DiscreteVP,
    Floats,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.usf import Decisions, Step, function_key

SCHEDULES = [
    LinearVP(), LinearVP(0.2, 12.0), CosineVP(), DiscreteVP.linear(), DiscreteVP([0.1, 0.5, 0.2]),
    VE(), EDM(), FlowMatching(), FlowMatching(3.0),
]  # fmt: skip
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


def exact(schedule: Schedule, t: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Alpha and sigma by the papers' formulas, in 50 digits."""
    mpmath.mp.dps = 50
    t = mpmath.mpf(t)
    if isinstance(schedule, LinearVP):
        low, high = mpmath.mpf(schedule.beta_min), mpmath.mpf(schedule.beta_max)
        alpha = mpmath.exp(-mpmath.quad(lambda u: low + u * (high - low), [0, t]) / 2)
        return alpha, mpmath.sqrt(1 - alpha**2)
    if isinstance(schedule, CosineVP):
        s = mpmath.mpf(schedule.s)
        alpha, start = (mpmath.cos(mpmath.pi / 2 * (u + s) / (1 + s)) for u in (t, 0))
        alpha /= start
        return alpha, mpmath.sqrt(1 - alpha**2)
    if isinstance(schedule, VE):
        low, high = mpmath.mpf(schedule.sigma_min), mpmath.mpf(schedule.sigma_max)
        return mpmath.mpf(1), low * (high / low) ** t
    if isinstance(schedule, EDM):
        return mpmath.mpf(1), t
    assert isinstance(schedule, FlowMatching)
    s = schedule.shift * t / (1 + (schedule.shift - 1) * t)
    return 1 - s, s


@every
@given(part=st.floats(0, 1))
def test_inverses(schedule: Schedule, part: float) -> None:
    t = schedule.t_min + part * (schedule.t_max - schedule.t_min)
    span = schedule.t_max - schedule.t_min
    assert schedule.time_of_log_snr(schedule.log_snr(t)) == pytest.approx(t, abs=1e-13 * span)
    assert schedule.time_of_rho(schedule.rho(t)) == pytest.approx(t, abs=1e-12 * span)
    # Where almost all is noise, sigma itself says little of the time; likewise alpha at the start.
    assert schedule.sigma(schedule.time_of_sigma(schedule.sigma(t))) == pytest.approx(
        schedule.sigma(t), rel=1e-13
    )
    if not isinstance(schedule, VE | EDM):
        assert schedule.alpha(schedule.time_of_alpha(schedule.alpha(t))) == pytest.approx(
            schedule.alpha(t), rel=1e-13
        )


@pytest.mark.parametrize(
    "schedule",
    [s for s in SCHEDULES if not isinstance(s, DiscreteVP)],
    ids=lambda s: type(s).__name__,
)
def test_values_to_the_last_digits(schedule: Schedule) -> None:
    for t in np.linspace(schedule.t_min, schedule.t_max, 23):
        alpha, sigma = exact(schedule, float(t))
        # The last digit of t itself moves a vanishing alpha by much more than its own.
        assert float(schedule.alpha(t) / alpha) == pytest.approx(
            1, abs=4e-15 + 4e-16 / float(alpha)
        )
        assert float(schedule.sigma(t) / sigma) == pytest.approx(1, abs=4e-15)
        log_snr = 2 * mpmath.log(alpha / sigma)
        assert float(schedule.log_snr(t) - log_snr) == pytest.approx(
            0, abs=2e-14 + 4e-16 / float(alpha)
        )


def test_discrete_betas_are_those_of_training() -> None:
    betas = np.array([0.1, 0.5, 0.2, 0.7])
    schedule = DiscreteVP(betas)
    steps = np.arange(4)
    np.testing.assert_allclose(schedule.alpha(steps) ** 2, np.cumprod(1 - betas), rtol=1e-14)
    np.testing.assert_allclose(
        schedule.alpha(steps) ** 2 + schedule.sigma(steps) ** 2, 1, rtol=1e-15
    )
    between = np.log(schedule.alpha([1, 1.25, 2]))
    assert between[1] == pytest.approx(0.75 * between[0] + 0.25 * between[2])


@every
def test_noise_only_grows(schedule: Schedule) -> None:
    t = np.linspace(schedule.t_min, schedule.t_max, 500)
    assert (np.diff(schedule.log_snr(t)) < 0).all()
    assert (np.diff(schedule.sigma(t)) > 0).all() or schedule.sigma(schedule.t_max) > 0.999
    for each in (schedule.alpha(t), schedule.sigma(t), schedule.rho(t)):
        assert each.dtype == np.float64
        assert each.shape == t.shape
        assert np.isfinite(each).all()


def test_times_that_can_be_stepped_through() -> None:
    schedule = LinearVP()
    assert schedule.check([1, 0.5, 0.001]).dtype == np.float64
    with pytest.raises(ValueError, match=r"step 2 goes from 0.5 to 0.7"):
        schedule.check([1, 0.5, 0.7, 0.1])
    with pytest.raises(ValueError, match=r"time 1.5, where step 1 begins, is outside 0.001"):
        schedule.check([1.5, 0.5])
    with pytest.raises(ValueError, match="time nan, where step 1 ends, is outside"):
        schedule.check([1, float("nan")])
    with pytest.raises(ValueError, match="two or more"):
        schedule.check([1])


def test_a_schedule_that_is_not_monotone_is_told_with_the_step() -> None:
    class Bent(LinearVP):
        """Noise that falls again between 0.4 and 0.6."""

        def log_alpha(self, t: ArrayLike) -> Floats:
            t = np.asarray(t, np.float64)
            return super().log_alpha(np.where((t > 0.4) & (t < 0.6), 1 - t, t))

    times = [1.0, 0.8, 0.59, 0.41, 0.1]
    with pytest.raises(
        ValueError, match=r"not monotone: in step 3, from time 0.59 to 0.41, .* to -"
    ):
        Bent().check(times)
    with pytest.raises(ValueError, match=r"not monotone: in step 2, from time 0\.5"):
        Bent().check([1.0, 0.8, 0.1])  # between the times
    sample(lambda x, t: 0 * x, LinearVP(), torch.zeros(1, 2), times=times)
    with pytest.raises(ValueError, match="not monotone: in step 3"):
        sample(lambda x, t: 0 * x, Bent(), torch.zeros(1, 2), times=times)


@pytest.mark.parametrize("solver", ["tab3", "ddim", "ipndm", "rho-heun"])
def test_an_end_without_data_or_without_noise_is_told(solver: str) -> None:
    class Whole(FlowMatching):
        """From pure data to pure noise."""

        def __init__(self) -> None:
            super().__init__()
            self.t_min, self.t_max = 0.0, 1.0

    for times, words in (([1.0, 0.5, 0.2, 0.1, 0.05], "-inf at time 1, in step 1"),
                         ([0.9, 0.5, 0.2, 0.1, 0.0], "inf at time 0, in step 4")):  # fmt: skip
        with pytest.raises(ValueError, match=f"ratio is {words}: neither alpha nor sigma may be 0"):
            sample(lambda x, t: 0 * x, Whole(), torch.zeros(1, 2), times=times, solver=solver)


@every
def test_the_smallest_steps_are_steps(schedule: Schedule) -> None:
    middle = schedule.time_of_log_snr(0.0)
    for step in (1e-6, 1e-9, 1e-12):
        schedule.check([schedule.t_max, middle + step, middle, middle - step, schedule.t_min])


def test_a_schedule_whose_weights_are_kept_is_not_changed() -> None:
    """They would be those of the schedule that it was."""
    decisions = Decisions([1.0, 0.5, 0.001], [Step(), Step(2, "data")])

    def by_tab(schedule: Schedule) -> object:
        return sample(lambda x, t: 0 * x, schedule, torch.zeros(1, 2))

    for use in (by_tab, lambda schedule: function_key(schedule, decisions)):
        schedule = LinearVP()
        schedule.beta_max = 12.0  # nothing is kept yet
        use(schedule)
        with pytest.raises(
            AttributeError, match=r"LinearVP\.beta_max cannot be changed .* another"
        ):
            schedule.beta_max = 5.0
        assert schedule.digest() == LinearVP(0.1, 12.0).digest()
        LinearVP().beta_max = 5.0  # others are as free as before


def test_equal_schedules_have_equal_digests() -> None:
    assert LinearVP().digest() == LinearVP(0.1, 20.0).digest()
    others = {LinearVP(0.1, 20.1), LinearVP(t_min=1e-2), CosineVP(), EDM(), DiscreteVP.linear()}
    assert len({each.digest() for each in (LinearVP(), *others)}) == 6


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: LinearVP(20, 0.1), "beta_min < beta_max"),
        (lambda: LinearVP(0.1, np.inf), "infinity must hold, got 0.1 and inf"),
        (lambda: LinearVP(0.1, np.nan), "infinity must hold, got 0.1 and nan"),
        (lambda: CosineVP(s=np.inf), "s must be >= 0 and finite, got inf"),
        (lambda: VE(1, np.inf), "infinity must hold, got 1 and inf"),
        (lambda: EDM(1, np.inf), "infinity must hold, got 1 and inf"),
        (lambda: FlowMatching(np.inf), "shift must be > 0 and finite, got inf"),
        (lambda: LinearVP(t_min=0), "0 < t_min < t_max < infinity must hold, got 0"),
        (lambda: CosineVP(s=-1), "s must be >= 0 and finite, got -1"),
        (lambda: CosineVP(t_max=1), "t_max must be below 1"),
        (lambda: DiscreteVP([0.1, 1.0]), "got 1.0 at 1"),
        (lambda: DiscreteVP([0.1]), "two or more"),
        (lambda: VE(2, 1), "sigma_min < sigma_max"),
        (lambda: EDM(2, 1), "t_min < t_max"),
        (lambda: FlowMatching(0), "shift must be > 0 and finite, got 0"),
        (lambda: FlowMatching(t_max=1), "t_max must be below 1"),
        (lambda: EDM().time_of_alpha(0.5), "alpha is 1 at all times"),
    ],
)
def test_bad_settings(build: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build()  # type: ignore[operator]
