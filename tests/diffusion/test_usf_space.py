from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.diffusion.schedules import DiscreteVP, FlowMatching, LinearVP, Schedule
from paperworks.diffusion.usf.decisions import ESTIMATES, Decisions, Step
from paperworks.diffusion.usf.presets import by_hand, ddim
from paperworks.diffusion.usf.space import Space

SCHEDULES = [LinearVP(), DiscreteVP.linear(), DiscreteVP.linear(12), FlowMatching()]


def sound(schedule: Schedule, decisions: Decisions, steps: int) -> None:
    """Decisions check themselves when they are made; their times must be the schedule's."""
    times = schedule.check(decisions.times)
    assert len(decisions) == steps
    assert (times[0], times[-1]) == (schedule.t_max, schedule.t_min)
    if isinstance(schedule, DiscreteVP):
        assert (times == times.round()).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), steps=st.integers(1, 9), which=st.integers(0, len(SCHEDULES) - 1)
)
def test_all_that_is_made_can_be_sampled(seed: int, steps: int, which: int) -> None:
    space, rng = Space(SCHEDULES[which], steps), np.random.default_rng(seed)
    one, two = space.random(rng), space.random(rng)
    for _ in range(5):
        child = space.mutate(space.cross(one, two, rng), rng)
        for each in (one, two, child):
            sound(SCHEDULES[which], each, steps)
        one, two = child, one
    assert np.isfinite(space.features([one, two])).all()


def test_a_change_is_one() -> None:
    space, rng = Space(LinearVP(), 5), np.random.default_rng(0)
    parent = space.random(rng)
    children = [space.mutate(parent, rng) for _ in range(200)]
    assert parent not in children
    same_times = sum(child.times == parent.times for child in children)
    same_steps = sum(child.steps == parent.steps for child in children)
    assert 20 < same_times < 180
    assert 20 < same_steps < 180


def test_a_cross_takes_steps_from_both() -> None:
    space, rng = Space(LinearVP(), 8), np.random.default_rng(0)
    one = ddim(np.linspace(1, 0.001, 9))
    two = replace(one, steps=tuple(Step(1, "data") for _ in range(8)))
    child = space.cross(one, two, rng)
    assert child.times == one.times
    assert {step.prediction for step in child.steps} == {"noise", "data"}


def test_every_choice_comes_up() -> None:
    space, rng = Space(LinearVP(), 5), np.random.default_rng(0)
    steps = [step for _ in range(300) for step in space.random(rng).steps]
    assert set(Counter(step.order for step in steps)) == {1, 2, 3, 4}
    assert {step.prediction for step in steps} == {"noise", "data"}
    assert {step.estimate for step in steps} == set(ESTIMATES)
    assert {step.corrector for step in steps} == {True, False}
    scalings = {step.scaling for step in steps if isinstance(step.scaling, str)}
    assert scalings == {"none", "bh1", "bh2", "exp+", "exp-"}
    assert any(isinstance(step.scaling, float) for step in steps)
    assert {len(step.points[0]) for step in steps if step.points} == {1, 2}
    # The first step has one prediction, the last nothing to correct it with.
    for _ in range(20):
        decisions = space.random(rng)
        assert decisions.steps[0].order == 1
        assert not decisions.steps[-1].corrector


@pytest.mark.parametrize("schedule", [LinearVP(), DiscreteVP.linear()])
def test_features_tell_solvers_apart(schedule: Schedule) -> None:
    many = list(by_hand(schedule, 6).values())
    found = Space(schedule, 6).features(many)
    assert found.shape == (40, 6, 21)
    assert len({each.tobytes() for each in found}) == 40
    assert np.abs(found).max() < 10
    # Where a step begins and ends, from the noise at 0 to the data at 1.
    assert (found[:, 0, 0] == 0).all()
    np.testing.assert_allclose(found[:, -1, 1], 1)
    np.testing.assert_array_equal(found[:, 1:, 0], found[:, :-1, 1])


def test_features_say_how_each_step_is_made() -> None:
    """One column of its own for each choice: written out for one schedule."""
    steps = (
        Step(corrector=True),
        Step(2, "data", scaling="bh2"),
        Step(3, "noise", points=[[1], [1, 2]], corrector=True),
        Step(4, "data", "adams-rho"),
        Step(3, "noise", scaling="3m"),
        Step(2, "noise", scaling=-0.2),
    )
    found = Space(LinearVP(), 6).features([Decisions(np.linspace(1, 0.001, 7), steps)])[0]
    orders, corrector = found[:, 3:7], found[:, 7]
    np.testing.assert_array_equal(orders, np.eye(4)[[0, 1, 2, 3, 2, 1]])
    np.testing.assert_array_equal(corrector, [1, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found[:, 8:10], np.eye(2)[[0, 1, 0, 1, 0, 0]])
    np.testing.assert_array_equal(found[:, 10:14], np.eye(4)[[0, 0, 0, 2, 0, 0]])
    np.testing.assert_array_equal(found[:, 14], [0, 0, 0.5, 0, 0, 0])
    np.testing.assert_array_equal(found[:, 15:19], [[0] * 4, [0, 1, 0, 0], *[[0] * 4] * 4])
    np.testing.assert_array_equal(found[:, 19], [0, 0, 0, 0, 0, -2])
    np.testing.assert_array_equal(found[:, 20], [0, 0, 0, 0, 1, 0])


def test_features_leave_out_what_does_not_matter() -> None:
    space, times = Space(LinearVP(), 2), (1.0, 0.5, 0.001)
    one = Decisions(times, (Step(), Step()))
    two = Decisions(times, (Step(1, "data"), Step(1, estimate="adams-t")))
    np.testing.assert_array_equal(*space.features([one, two]))
