"""The claim's tasks, its shipped programs, and its own calibration beside the estimator's."""

from __future__ import annotations

import ast
import hashlib
import os
from importlib import resources

import numpy as np
import pytest

from paperworks.claims import _code_tasks
from paperworks.claims.pac_code_sets import METHODS, last_level, sets_of, sizes, table
from paperworks.statistics import PACCodeSets, read_programs
from paperworks.statistics.pac_code.calibration import allowed_misses

FOLDER = resources.files("paperworks.claims")
needs_data = pytest.mark.skipif(
    "PAPERWORKS_DATA" not in os.environ, reason="needs HumanEval and GeoQuery: set PAPERWORKS_DATA"
)


def shipped():
    with resources.as_file(FOLDER / "pac_code_humaneval.jsonl.gz") as path:
        return [program for _, program in read_programs(path)]


def test_the_shipped_programs_are_those_of_the_note():
    content = (FOLDER / "pac_code_humaneval.jsonl.gz").read_bytes()
    note = (FOLDER / "pac_code_humaneval.md").read_text()
    assert hashlib.sha256(content).hexdigest() in note
    programs = shipped()
    assert len(programs) == 205
    assert len({each.prompt for each in programs}) == 123
    for each in programs:
        ast.parse(each.target)
        assert each.target.startswith(each.prefix)


@pytest.mark.parametrize("method", ["greedy", "uniform"])
def test_the_claim_calibrates_as_the_estimator_does(method):
    programs = shipped()[::2]
    sets = sets_of("humaneval", method, 2, 12)
    misses, removed = table(programs, sets)
    at = last_level(misses[:60].sum(0), allowed_misses(60, 0.4, 0.1))
    fitted = PACCodeSets(
        0.4, 0.1, max_holes=2, method=method, thresholds=sets.thresholds, unparsed="hole"
    ).fit(programs[:60])
    assert fitted.threshold_ == sets.thresholds[at]
    assert fitted.misses_ == misses[:60, at].sum()
    report = fitted.evaluate(programs[60:])
    assert report.misses == misses[60:, at].sum()
    assert report.removed == pytest.approx(removed[60:, at].mean())


def test_a_trial_is_one_line_of_each_problem():
    labels = list(METHODS)
    found = sizes(
        seed=1, device="cpu", task="humaneval", holes=1, levels=5, against=labels[1:],
        problems=24, fresh=False,
    )  # fmt: skip
    assert list(found.values) == labels
    assert all(0 < value <= 100 for value in found.values.values())
    assert all((np.diff(curve.y) <= 1e-9).all() for curve in found.curves)


@needs_data
def test_tasks():
    tasks = _code_tasks.humaneval()
    assert [(t.group, t.target, t.prefix) for t in tasks] == [
        (p.prompt, p.target, p.prefix) for p in shipped()
    ]
    assert all(task.prompt.endswith(task.prefix) for task in tasks)
    pytest.importorskip("sqlglot")
    questions = _code_tasks.geoquery()
    assert len(questions) == 289
    assert all(task.prompt.count("SQL:") == 5 for task in questions)
    assert not any("alias" in task.target for task in questions)
    assert max(len(task.target) for task in questions) <= 200
