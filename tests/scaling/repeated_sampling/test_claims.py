"""The claims' own parts: the data, the contenders' fits, the problems."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest

from paperworks.claims import repeated_sampling as claims
from paperworks.scaling import final_answer, log_spaced


def test_counts_are_those_that_their_provenance_names() -> None:
    folder = resources.files("paperworks.claims")
    packed = (folder / "llm_monkeys_pythia_math_counts.csv.gz").read_bytes()
    note = (folder / "llm_monkeys_pythia_math_counts.md").read_text("utf-8")
    assert hashlib.sha256(packed).hexdigest() in note
    # Problems solved at least once, out of 128: coverage at k = n = 10,000.
    solved = dict(zip(claims.MODELS, (34, 73, 84, 95, 104, 107, 112), strict=True))
    for model, count in solved.items():
        result = claims.pythia(seed=0, device="cpu", model=model, extrapolate=False)
        measured = next(curve for curve in result.curves if curve.label == "measured")
        assert measured.x[-1] == 10_000
        assert measured.y[-1] == pytest.approx(count / 128)


@pytest.mark.parametrize(
    ("fit", "curve"),
    [
        (claims._law, lambda k: np.exp(-4 * k**-0.35)),
        (claims._power, lambda k: 0.01 * k**0.45),
        (claims._log_linear, lambda k: 0.02 + 0.1 * np.log(k)),
    ],
)
def test_every_contender_finds_a_curve_of_its_own_kind(fit, curve) -> None:  # type: ignore[no-untyped-def]
    k = log_spaced(10_000).astype(float)
    early = k <= 1000
    np.testing.assert_allclose(fit(k[early], curve(k[early]))(k), curve(k), rtol=1e-5)


def test_values_are_per_cent_of_what_was_not_fitted() -> None:
    rng = np.random.default_rng(0)
    n, c = np.full(60, 500), rng.binomial(500, rng.beta(0.3, 2, 60))
    result = claims.compare(n, c, extrapolate=True)
    curves = {curve.label: curve for curve in result.curves}
    k = np.array(curves["measured"].x)
    for label, value in result.values.items():
        gap = np.array(curves[label].y) - np.array(curves["measured"].y)
        assert value == pytest.approx(100 * np.sqrt((gap[k > 50] ** 2).mean()))


def test_arithmetic_problems_are_right_and_different() -> None:
    problems = claims.arithmetic(60, seed=1)
    assert len({problem.id for problem in problems}) == 60
    assert {problem.id.split()[1] for problem in problems} == {"+", "-", "*"}
    for problem in problems:
        a, sign, b = problem.id.split()
        value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]
        assert problem.reference["answer"] == value
        assert problem.prompt.endswith(f"Q: {problem.id}\nA:")
    assert problems == claims.arithmetic(60, seed=1) != claims.arithmetic(60, seed=2)
    for question, answer in claims._SHOTS:
        a, sign, b = question.split()
        assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign] == answer


def test_negative_answers_are_read_as_the_model_writes_them() -> None:
    assert final_answer(" -38") == -38
