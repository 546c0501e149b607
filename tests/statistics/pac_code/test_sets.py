"""The estimator end to end, records, files, and bad input."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from paperworks.statistics import PACCodeSets, ScoredProgram, read_programs, write_programs
from paperworks.statistics.pac_code.records import from_json

SURE, UNSURE = -0.01, -3.0
WORDS = st.text(st.characters(exclude_categories=["Cs"]))  # half a surrogate pair has no UTF-8


def program(text, doubtful=(), target=None, **rest):
    """Tokens are words and the blanks before them."""
    tokens = [(" " if at else "") + word for at, word in enumerate(text.split(" "))]
    logprobs = [UNSURE if token.strip() in doubtful else SURE for token in tokens]
    return ScoredProgram(tokens, logprobs, target=target, **rest)


def sample(size=40, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(size):
        doubtful = "b" if rng.random() < 0.5 else "c"
        wrong = rng.random() < 0.5
        truth = "a + b * c".replace(doubtful, "g(z)" if wrong else doubtful)
        found.append(program("a + b * c", doubtful, truth))
    return found


def test_holes_where_the_model_was_unsure():
    sets = PACCodeSets(0.1, 0.05, max_holes=1).fit(sample())
    assert sets.threshold_ < -UNSURE + 7 * -SURE
    unsure = program("a + b * c", "c")
    assert [str(each) for each in sets.predict([unsure, program("a + b * c")])] == [
        "a + b * ??",
        "a + b * c",
    ]
    report = sets.evaluate(sample(60, seed=1))
    assert report.coverage == 1
    assert report.holes == 1
    assert report.whole == 0
    assert report.removed == pytest.approx(1 / 7)


@pytest.mark.parametrize("method", ["milp", "greedy", "statements", "uniform"])
def test_families_are_nested_in_program_and_meaning(method):
    text = "if a + b > c:\n    x = f(a, g(b))\n    y = x - 1\nelse:\n    y = c"
    rng = np.random.default_rng(0)
    tokens = [text[at : at + 3] for at in range(0, len(text), 3)]
    scored = ScoredProgram(tokens, list(-rng.exponential(0.5, len(tokens))))
    sets = PACCodeSets(method=method, max_holes=2)
    family = sets.family(scored)
    masks = [each.tree.removed_by(each.cut) for each in family]
    assert masks[0].mean() > 0.9
    assert not masks[-1].any()
    assert len({mask.sum() for mask in masks}) > 2
    for large, small in pairwise(masks):
        assert (large >= small).all()
    assert all(each.holes <= 2 for each in family)
    if method != "uniform":
        assert all(each.nll <= each.threshold + 1e-6 for each in family)
    if method == "statements":
        tree = family[0].tree
        assert all(tree.units[node] for each in family for node in each.cut)
    # What is in a small set is in the larger ones.
    others = [text.replace("g(b)", "h"), text.replace("x - 1", "0"), text.replace("c", "d"), "pass"]
    for other in [text, *others]:
        inside = [each.contains(other) for each in family]
        assert sorted(inside, reverse=True) == inside


def test_the_integer_program_is_the_smallest_at_every_method():
    scored = [program("f(a, b) + g(c, d, e)", ["b)", "d,"]), program("a + b * c", "b")]
    sizes = {
        method: [
            np.mean([each.removed for each in PACCodeSets(method=method).family(each)])
            for each in scored
        ]
        for method in ("milp", "greedy", "statements")
    }
    assert (np.array(sizes["milp"]) <= sizes["greedy"]).all()
    assert (np.array(sizes["milp"]) <= sizes["statements"]).all()


def test_prefix_counts_as_certain():
    scored = ScoredProgram([" x", " + y"], [-0.2, -2.5], target="return x + z", prefix="return")
    (partial,) = [PACCodeSets(max_holes=1).cut(scored, 1.0)]
    assert str(partial) == "return x + ??"
    assert partial.contains(scored.target)
    assert partial.nll == pytest.approx(0.2)


def test_sql_end_to_end():
    pytest.importorskip("sqlglot")
    tokens = ["SELECT", " a", " FROM", " t", " WHERE", " x", " =", " 1"]

    def one(value):
        return ScoredProgram(
            tokens, [SURE] * 7 + [UNSURE], target=f"select a from t where x = {value}"
        )

    sets = PACCodeSets(language="sql", dialect="sqlite", max_holes=1)
    sets.fit([one(at) for at in range(30)])
    assert str(sets.predict([one(0)])[0]) == "SELECT a FROM t WHERE x = ??"
    assert sets.evaluate([one(7), one("'b'")]).misses == 0


def test_programs_that_do_not_parse():
    bad = ScoredProgram(["x +"], [-0.1], target="x + 1")
    good = sample(30)
    with pytest.raises(ValueError, match=r"program 30 does not parse: .*unparsed='hole'"):
        PACCodeSets().fit([*good, bad])
    sets = PACCodeSets(unparsed="hole").fit([*good, bad])
    assert str(sets.predict([bad])[0]) == "??"
    wrong = ScoredProgram(["x"], [-0.1], target="x +")
    with pytest.raises(ValueError, match="the target of program 0 does not parse"):
        sets.fit([wrong, *good])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon": 0}, "epsilon must lie strictly between 0 and 1"),
        ({"delta": 1.5}, "delta must lie strictly between 0 and 1"),
        ({"max_holes": 0}, "max_holes must be >= 1, got 0"),
        ({"max_holes": 1.5}, "max_holes must be a whole number, got 1.5"),
        ({"max_holes": True}, "max_holes must be a whole number, got True"),
        ({"max_holes": "two"}, "max_holes must be a whole number, got 'two'"),
        ({"method": "magic"}, "method must be one of milp, greedy, statements, uniform"),
        ({"language": "perl"}, "language must be one of python, sql, got 'perl'"),
        ({"unparsed": "skip"}, "unparsed must be one of error, hole"),
        ({"thresholds": [1.0, 0.5]}, "thresholds must be >= 0 and increase"),
        ({"thresholds": [-1.0, 0.5]}, "thresholds must be >= 0 and increase"),
        ({"thresholds": [math.nan]}, "finite"),
        ({"thresholds": []}, "thresholds must be a list"),
        ({"thresholds": [0.5, 2.0], "method": "uniform"}, "shares of 0 to 1"),
        ({"time_limit": 0}, "time_limit must be > 0"),
        ({"time_limit": "a"}, "time_limit must be > 0 or None, got 'a'"),
        ({"thresholds": "abc"}, "thresholds must be a list"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        PACCodeSets(**settings).fit(sample())


def test_bad_calls():
    sets = PACCodeSets()
    with pytest.raises(NotFittedError):
        sets.predict(sample(1))
    with pytest.raises(ValueError, match="got a single one"):
        sets.fit(sample(1)[0])
    with pytest.raises(ValueError, match="40 programs, but 2 targets"):
        sets.fit(sample(), ["a", "b"])
    with pytest.raises(ValueError, match="targets must be a list of programs, got a string: 'aa"):
        sets.fit(sample(), "a" * 40)
    with pytest.raises(ValueError, match="threshold must be a number, got nan"):
        sets.cut(sample(1)[0], math.nan)
    with pytest.raises(ValueError, match="program 0 has no target"):
        sets.fit([program("a + b")] * 40)
    with pytest.raises(ValueError, match=r"program 1: field 'tokens' must be a list"):
        sets.fit([{"tokens": ["x"], "logprobs": [-1]}, {"logprobs": [-1]}])
    with pytest.raises(ValueError, match="no programs to evaluate"):
        sets.fit(sample()).evaluate([])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"tokens": ["x"], "logprobs": [0.5]}, "must be <= 0, got 0.5; it looks like a prob"),
        ({"tokens": ["x"], "logprobs": [3]}, r"must be <= 0, got 3.0$"),
        ({"tokens": ["x"], "logprobs": [math.nan]}, "must be finite, got nan"),
        ({"tokens": ["x"], "logprobs": [-math.inf]}, "must be finite, got -inf"),
        ({"tokens": ["x"], "logprobs": ["a"]}, "must be a number, got 'a'"),
        ({"tokens": ["x"], "logprobs": [None]}, "must be a number, got None"),
        ({"tokens": ["x"], "logprobs": [True]}, "must be a number, got True"),
        ({"tokens": ["x", "y"], "logprobs": [-1]}, "2 tokens, but 1 log-probabilities"),
        ({"tokens": "x", "logprobs": [-1]}, "'tokens' must be a list, got 'x'"),
        ({"tokens": [1], "logprobs": [-1]}, "tokens must be a list of strings"),
        ({"tokens": [" "], "logprobs": [-1]}, "the generated text is empty"),
        ({"tokens": ["x"], "logprobs": [-1], "target": 3}, "target must be a string, got 3"),
        (["x"], "must be a JSON object"),
        (
            {"tokens": ["x"], "logprobs": [-0.1], "top_logprobs": [{"x": -0.1, "y": -0.2}]},
            r"'x'\) and its alternatives sum to 1.724, above 1",
        ),
        (
            {"tokens": ["x"], "logprobs": [-0.1], "top_logprobs": [{"y": -0.2}]},
            "sum to 1.724, above 1",
        ),
        ({"tokens": ["x"], "logprobs": [-0.1], "top_logprobs": []}, "an object for each of the 1"),
        (
            {"tokens": ["x"], "logprobs": [-0.1], "top_logprobs": [{"y": 0.2}]},
            "an alternative to token 0",
        ),
    ],
)
def test_bad_records(record, words):
    with pytest.raises(ValueError, match=words):
        from_json(record)


def test_alternatives_that_sum_to_one_pass():
    record = {"tokens": ["x", ""], "logprobs": [math.log(0.7), 0.0]}
    record["top_logprobs"] = [{"x": math.log(0.7), "y": math.log(0.3)}, None]
    assert from_json(record).nll == pytest.approx(-math.log(0.7))
    assert from_json({"tokens": ["x"], "logprobs": [np.float32(-1)]}).logprobs == (-1.0,)


@given(
    st.lists(st.tuples(WORDS.filter(bool), st.floats(-50, 0)), min_size=1, max_size=5),
    WORDS,
    st.one_of(st.none(), WORDS),
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_files_keep_everything(tmp_path_factory, tokens, prompt, target):
    texts, logprobs = zip(*tokens, strict=True)
    assume("".join(texts).strip())
    scored = ScoredProgram(texts, logprobs, prompt=prompt, target=target)
    for name in ("a.jsonl", "a.jsonl.gz"):
        path = tmp_path_factory.mktemp("files") / name
        write_programs(path, [scored, scored])
        assert list(read_programs(path)) == [(1, scored), (2, scored)]


def test_bad_lines_are_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('\n{"tokens": ["x"], "logprobs": [-1]}\n{"tokens": ["x"]}\n')
    with pytest.raises(ValueError, match=r"runs.jsonl, line 3: field 'logprobs'"):
        list(read_programs(path))
    path.write_text("{\n")
    with pytest.raises(ValueError, match=r"line 1: not JSON"):
        list(read_programs(path))


def test_saved_and_loaded_it_predicts_the_same(tmp_path):
    sets = PACCodeSets(0.2, 0.1, max_holes=2, thresholds=[0.1, 1.0, 2.0]).fit(sample())
    path = tmp_path / "calibration.json"
    sets.save(path)
    again = PACCodeSets.load(path)
    assert again.threshold_ == sets.threshold_
    assert again.miss_bound_ == sets.miss_bound_
    assert (again.misses_at_ == sets.misses_at_).all()
    some = sample(5, seed=3)
    assert list(map(str, again.predict(some))) == list(map(str, sets.predict(some)))
    path.write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="holds no calibration"):
        PACCodeSets.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds no calibration"):
        PACCodeSets.load(path)


def test_it_is_an_estimator_and_does_not_look_at_how_many_jobs():
    sets = PACCodeSets(0.2, max_holes=2, n_jobs=2, method="greedy")
    assert clone(sets).get_params() == sets.get_params()
    some = sample(20)
    sets.method = "milp"
    with parallel_config("threading"):  # starting processes would take most of the test's time
        sets.fit(some)
    assert sets.threshold_ == PACCodeSets(0.2, max_holes=2).fit(some).threshold_
