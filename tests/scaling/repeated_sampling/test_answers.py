"""Final answers: a table by hand, and the published grades of 5,276 GSM8K solutions."""

from __future__ import annotations

import gzip
import json
import os
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperworks.scaling import FinalAnswerVerifier, Problem, final_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 18", "18"), ("#### 1,234", "1234"), ("#### $1,234.50.", "1234.5"),
        ("#### -4", "-4"), ("#### 50%", "50"), ("####3/4", "3/4"), ("#### 2.", "2"),
        ("so 5 eggs\n#### 7\nQ: next? 9\n#### 11", "7"),
        ("It costs $18.", "18"), ("$-5", "-5"), ("-$5", "-5"), ("−7 degrees", "-7"),
        ("$.50", "1/2"), ("1 1/2 cups", "3/2"), ("0.250", "1/4"), ("1.5e3", "1500"),
        (r"thus \boxed{42} of 50", "42"), (r"\boxed{\frac{3}{4}}", "3/4"), (r"\dfrac{1}{2}", "1/2"),
        ("The answer is **72** dollars, of 100", "72"), ("Answer: 5 of 6", "5"),
        ("The answer is 12 - 5 = 7", "7"), ("2024-11-05", "5"), ("5 - 3", "3"), ("10 apples", "10"),
        ("1,2,3", "3"), ("no #### here, 9 left", "9"),
    ],
)  # fmt: skip
def test_reads(text: str, answer: str) -> None:
    assert final_answer(text) == Fraction(answer)


@pytest.mark.parametrize("text", ["", "none", "#### ", "10/0", "the answer is unknown", "." * 10])
def test_reads_nothing_where_there_is_nothing(text: str) -> None:
    assert final_answer(text) is None


def test_the_papers_rule_wants_its_marker() -> None:
    assert final_answer("so it is 18", require_marker=True) is None
    assert final_answer("so it is\n#### 18", require_marker=True) == 18


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.0", "{:,}.", "{}%"]))
def test_whole_numbers_read_back(value: int, style: str) -> None:
    assert final_answer("#### " + style.format(value)) == value


def test_a_long_text_costs_no_more_than_its_length() -> None:
    start = time.perf_counter()
    for text in ("9" * 200_000, "1," * 100_000, "1 " * 100_000, "-" * 200_000, r"\boxed{" * 20_000):
        final_answer(text)
    assert time.perf_counter() - start < 30  # a quadratic search takes many minutes


def test_verifier_compares_values_and_keeps_the_answer() -> None:
    verify = FinalAnswerVerifier()
    problem = Problem("p", "?", {"answer": "work...\n#### 1,000"})
    right, wrong, none = (verify(problem, t) for t in ("so 1000.00", "so 999", "no idea"))
    assert (right.correct, right.status, right.answer) == (True, "passed", "1000")
    assert (wrong.correct, wrong.status, wrong.answer) == (False, "failed", "999")
    assert (none.correct, none.status, none.answer) == (False, "no answer", None)
    assert not FinalAnswerVerifier(require_marker=True)(problem, "so 1000").correct


def test_refuses_a_reference_without_a_number() -> None:
    with pytest.raises(ValueError, match=r"problem 'p' needs reference\['answer'\]"):
        FinalAnswerVerifier()(Problem("p", "?"), "3")
    with pytest.raises(ValueError, match="reference answer 'blue' holds no number"):
        FinalAnswerVerifier()(Problem("p", "?", {"answer": "blue"}), "3")


def _gsm8k(name: str) -> list[dict]:
    root = os.environ.get("PAPERWORKS_DATA")
    if not root:
        pytest.skip("PAPERWORKS_DATA is unset; it names a folder with gsm8k/")
    with gzip.open(Path(root, "gsm8k", name), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_agrees_with_every_published_grade() -> None:
    rows = _gsm8k("example_model_solutions.jsonl.gz")
    models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    verify = FinalAnswerVerifier()
    apart = [
        (row["question"][:40], model)
        for row in rows
        for model in models
        if verify(Problem("p", "", {"answer": row["ground_truth"]}), row[model]["solution"]).correct
        != row[model]["is_correct"]
    ]
    assert len(rows) * len(models) == 5276
    assert apart == []


def test_reads_every_gsm8k_reference() -> None:
    for row in _gsm8k("test.jsonl.gz"):
        plain = row["answer"].split("####")[1].replace(",", "").strip()
        assert final_answer(row["answer"]) == Fraction(plain)
