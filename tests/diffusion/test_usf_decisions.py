from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperworks.diffusion.schedules import DiscreteVP, LinearVP
from paperworks.diffusion.usf.decisions import Decisions, Step
from paperworks.diffusion.usf.space import Space

TIMES = [999, 600, 200, 0]
STEPS = [Step(corrector=True), Step(2, "data", scaling="bh2"), Step(3, points=[[1], [2, 1]])]


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 8),
    schedule=st.sampled_from([DiscreteVP.linear(), LinearVP()]),
)
def test_json_and_back(seed: int, steps: int, schedule: Any) -> None:
    decisions = Space(schedule, steps).random(np.random.default_rng(seed))
    assert Decisions.from_json(decisions.to_json()) == decisions


def test_the_form_of_the_file(tmp_path: Path) -> None:
    decisions = Decisions(TIMES, STEPS)
    decisions.save(tmp_path / "found.json")
    written = json.loads((tmp_path / "found.json").read_text())
    assert written == {
        "times": [999, 600, 200, 0],
        "steps": [
            {"corrector": True},
            {"order": 2, "prediction": "data", "scaling": "bh2"},
            {"order": 3, "points": [[1], [2, 1]]},
        ],
    }
    assert Decisions.load(tmp_path / "found.json") == decisions


def test_points_that_are_not_said_are_the_last_ones() -> None:
    assert Step(1).used == ()
    assert Step(3).used == ((1, 2), (1, 2))
    assert Step(3, start=2).used == ((0, 1), (0, 1))
    assert Step(2, start=1).used == ((0,),)
    assert Step(3, points=[[2], [2, 1]]).used == ((2,), (2, 1))
    assert [Step(order).reach for order in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert Step(2, start=2, points=((0,),)).reach == 3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"order": 5}, "order must be 1 to 4, got 5"),
        ({"order": 0}, "order must be 1 to 4, got 0"),
        ({"order": True}, "order must be 1 to 4, got True"),
        ({"order": 2.0}, "order must be 1 to 4, got 2.0"),
        ({"prediction": "epsilon"}, "one of noise, data; got 'epsilon'"),
        ({"estimate": "euler"}, "estimate must be one of taylor.*; got 'euler'"),
        ({"scaling": "bh3"}, "scaling must be a finite number or one of none, bh1.*; got 'bh3'"),
        ({"scaling": float("nan")}, "scaling must be a finite number or one of .*; got nan"),
        ({"scaling": 10**400}, "scaling must be a finite number or one of .*; got 1000"),
        ({"scaling": None}, "scaling must be a finite number .*; got None"),
        ({"scaling": [1]}, r"scaling must be a finite number .*; got \[1\]"),
        ({"scaling": True}, "scaling must be a finite number .*; got True"),
        ({"start": -1}, "start must be 0 or above, got -1"),
        ({"corrector": 1}, "corrector must be true or false, got 1"),
        ({"estimate": "adams-t", "scaling": "bh1"}, "'adams-t' takes no start, points or scaling"),
        ({"estimate": "adams-rho", "start": 1}, "'adams-rho' takes no start"),
        ({"order": 3, "points": [[1]]}, "order 3 has 2 derivatives .* points are given for 1"),
        ({"order": 3, "points": [[1], [1]]}, r"derivative 2 needs 2 or more .* got points \[1\]"),
        ({"order": 2, "points": [[0]]}, r"other than the start's \(0\), got points \[0\]"),
        ({"order": 3, "points": [[1], [1, 1]]}, r"derivative 2 .* different .* \[1, 1\]"),
        ({"order": 2, "points": [[]]}, r"derivative 1 needs 1 or more"),
    ],
)
def test_steps_that_cannot_be(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Step(**changes)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"times": TIMES[:3]}, "3 steps need 4 times and at least one step, got 3 times"),
        ({"times": [*TIMES, -1]}, "3 steps need 4 times .* got 5 times"),
        ({"times": [5], "steps": []}, "at least one step"),
        ({"times": [999, 600, 700, 0]}, "must fall .* step 2 of 3 goes from 600 to 700"),
        ({"times": [999, 600, 600, 0]}, "step 2 of 3 goes from 600 to 600"),
        ({"times": [999, float("nan"), 2, 0]}, "finite numbers, got nan as number 2 of 4"),
        ({"times": [float("inf"), 5, 2, 0]}, "finite numbers, got inf as number 1 of 4"),
        ({"times": [10**400, 5, 2, 0]}, "finite numbers, got 1000.* as number 1 of 4"),
        ({"times": [999, 5, "a", 0]}, "finite numbers, got 'a' as number 3 of 4"),
        ({"times": [999, 5, 2, None]}, "finite numbers, got None as number 4 of 4"),
        ({"times": [999, 5, 2, False]}, "finite numbers, got False as number 4 of 4"),
        ({"times": 999}, "'times' must be a list, got 999"),
        ({"steps": "all"}, "'steps' must be a list, got 'all'"),
        (
            {"steps": [{}, {"order": 3}, {}]},
            "step 2 of 3 has order 3 and needs the last 3 predictions, but only 2 are there",
        ),
        ({"steps": [{"order": 2}, {}, {}]}, "step 1 of 3 has order 2 .* only 1 are there"),
        ({"steps": [{}, {"start": 2}, {}]}, "step 2 of 3 .* needs the last 3 predictions"),
        ({"steps": [{}, {}, {"corrector": True}]}, "step 3 of 3 is the last"),
        ({"steps": [{}, {"order": 9}, {}]}, "step 2 of 3: order must be 1 to 4, got 9"),
        ({"steps": [{}, {"points": 3}, {}]}, "step 2 of 3: .*iterable"),
        ({"steps": [{}, {"solver": "ddim"}, {}]}, "step 2 of 3 must have keys of .*'solver'"),
        ({"betas": []}, "need 'times' and 'steps' and nothing else, got .*'betas'"),
    ],
)
def test_records_that_cannot_be(data: dict[str, Any], match: str) -> None:
    good = {"times": TIMES, "steps": [{}, {}, {}]}
    with pytest.raises(ValueError, match=match):
        Decisions.from_dict({**good, **data})


def test_a_scaling_of_numpy_is_a_number() -> None:
    for scaling in (np.float32(0.1), np.float64(0.1), np.int64(1), 1):
        decisions = Decisions([999, 500, 0], [Step(), Step(2, scaling=scaling)])
        assert type(decisions.steps[1].scaling) is float
        assert Decisions.from_json(decisions.to_json()) == decisions


def test_a_list_is_no_record() -> None:
    with pytest.raises(ValueError, match="need 'times' and 'steps' and nothing else, got list"):
        Decisions.from_json("[1, 2]")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "Expecting property name"),
        ('{"times": [9, 0], "steps": [{"scaling": NaN}]}', "step 1 of 1: scaling .* got nan"),
        ('{"times": [9, 4, 0], "steps": [{}]}', "1 steps need 2 times .* got 3 times"),
    ],
)
def test_a_file_that_holds_none_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"found\.json holds no decisions: .*{match}"):
        Decisions.load(path)
