"""Claims of "Large Language Monkeys", arXiv 2407.21787, section 3.1: coverage follows exp(a k^b).

The paper shows fits over the whole range of k (figures 5 and 10) and asks for no more; a law earns
its name by what it predicts, so the second claim fits the first tenth of k and predicts the rest.
Points are chosen as in appendix C.1. All three curves have two constants and are fitted to the same
points by least squares of coverage, and all predictions are cut to [0, 1].

The published counts ship beside this module; ``llm_monkeys_pythia_math_counts.md`` says where they
come from. The full tier also draws its own samples, from SmolLM2-135M on arithmetic.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.repeated_sampling.answers import FinalAnswerVerifier
from paperworks.scaling.repeated_sampling.backends import TransformersBackend
from paperworks.scaling.repeated_sampling.coverage import pass_at_k
from paperworks.scaling.repeated_sampling.law import CoverageLaw, log_spaced
from paperworks.scaling.repeated_sampling.problem import Problem
from paperworks.scaling.repeated_sampling.sampler import RepeatedSampler

FloatArray = NDArray[np.float64]

LAW, POWER, LOG_LINEAR = "exponentiated power law", "plain power law", "log-linear"
MODELS = tuple(f"Pythia {size}" for size in ("70M", "160M", "410M", "1B", "2.8B", "6.9B", "12B"))

_SHOTS = (("7 + 5", 12), ("93 - 48", 45), ("6 * 3", 18), ("120 + 45", 165))


def pythia(*, seed: int, device: str, model: str, extrapolate: bool) -> TrialResult:
    """One model's published counts: 128 MATH problems, 10,000 samples each."""
    table = resources.files("paperworks.claims") / "llm_monkeys_pythia_math_counts.csv.gz"
    with table.open("rb") as packed:
        text = gzip.decompress(packed.read()).decode()
    rows = [row for row in csv.DictReader(text.splitlines()) if row["model"] == model]
    n = np.array([int(row["num_samples"]) for row in rows])
    c = np.array([int(row["num_correct"]) for row in rows])
    return compare(n, c, extrapolate=extrapolate)


def smollm2(
    *, seed: int, device: str, problems: int, samples: int, extrapolate: bool
) -> TrialResult:
    """Fresh problems and fresh samples of SmolLM2-135M-Instruct, graded by their value."""
    from paperworks.data import load_model

    model, tokenizer = load_model("smollm2-135m-instruct")
    backend = TransformersBackend(
        model.to(device),
        tokenizer,
        max_tokens=8,
        temperature=0.6,  # the paper's, without nucleus sampling (appendix A.3)
        stop=["\n"],
        name="smollm2-135m-instruct",
    )
    sampler = RepeatedSampler(backend, FinalAnswerVerifier(), batch_size=128)
    with tempfile.TemporaryDirectory() as folder:
        run = sampler.run(
            arithmetic(problems, seed), samples, Path(folder, "samples.jsonl"), seed=seed
        )
    return compare(run.n, run.c, extrapolate=extrapolate)


def arithmetic(count: int, seed: int) -> list[Problem]:
    """Sums and differences of numbers up to 999 and products of numbers up to 99."""
    rng = np.random.default_rng(seed)
    shots = "".join(f"Q: {question}\nA: {answer}\n\n" for question, answer in _SHOTS)
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        sign = "+-*"[rng.integers(3)]
        low, high = (2, 100) if sign == "*" else (10, 1000)
        a, b = (int(v) for v in rng.integers(low, high, 2))
        question = f"{a} {sign} {b}"
        answer = {"+": a + b, "-": a - b, "*": a * b}[sign]
        problems[question] = Problem(question, f"{shots}Q: {question}\nA:", {"answer": answer})
    return list(problems.values())


def compare(n: NDArray[np.int64], c: NDArray[np.int64], *, extrapolate: bool) -> TrialResult:
    """Error of the three curves, in percentage points of coverage.

    Fitted to every point, or to those up to a tenth of the samples and judged on the others.
    """
    most = int(n.min())
    k = log_spaced(most)
    coverage = pass_at_k(n, c, k).mean(0)
    fitted = k <= most // 10 if extrapolate else np.ones(k.size, dtype=bool)
    judged = ~fitted if extrapolate else fitted
    values, curves = {}, [Curve("measured", k.tolist(), coverage.tolist())]
    for label, fit in ((LAW, _law), (POWER, _power), (LOG_LINEAR, _log_linear)):
        predicted = np.clip(fit(k[fitted].astype(float), coverage[fitted])(k.astype(float)), 0, 1)
        error = predicted[judged] - coverage[judged]
        values[label] = 100 * float(np.sqrt((error * error).mean()))
        curves.append(Curve(label, k.tolist(), predicted.tolist()))
    return TrialResult(values, curves)


def _law(k: FloatArray, coverage: FloatArray) -> Callable[[FloatArray], FloatArray]:
    law = CoverageLaw.fit(k, coverage)
    if not law.converged:
        raise RuntimeError(f"the law did not converge in {law.iterations} steps")
    return law


def _power(k: FloatArray, coverage: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Fit c = a k^b, from the straight line in log c over log k, then least squares of coverage."""
    seen = coverage > 0
    b, log_a = np.polyfit(np.log(k[seen]), np.log(coverage[seen]), 1)

    def curve(k: FloatArray, a: float, b: float) -> FloatArray:
        return a * k**b

    (a, b), _ = curve_fit(curve, k, coverage, p0=(np.exp(log_a), b), maxfev=10_000)
    return lambda k: curve(k, a, b)


def _log_linear(k: FloatArray, coverage: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Fit c = a + b log k by least squares."""
    b, a = np.polyfit(np.log(k), coverage, 1)
    return lambda k: a + b * np.log(k)


def _pythia_tier(extrapolate: bool) -> Tier:
    works = [{"model": model, "extrapolate": extrapolate} for model in MODELS]
    return Tier(works=works, seeds=1, timeout=60)


def _smollm2_tier(extrapolate: bool) -> Tier:
    works = [{"problems": 40, "samples": 256, "extrapolate": extrapolate}]
    return Tier(works=works, seeds=5, timeout=3600, memory=8)


_AXES = Axes("samples per problem, k", "coverage", x_scale="log")
_COMMON: dict[str, Any] = {
    "paper": "repeated-sampling",
    "better": "lower",
    "ours": LAW,
    "contenders": (POWER, LOG_LINEAR),
    "effect": Effect("ratio", 1.0),
    "axes": _AXES,
}
_FIT_METRIC = "root mean squared error of the fit, percentage points of coverage"
_EXTRAPOLATION_METRIC = (
    "root mean squared error beyond a tenth of the samples, percentage points of coverage"
)

CLAIMS = (
    Claim(
        **_COMMON,
        name="fit",
        statement=(
            "On the paper's own counts (seven Pythia models, 128 MATH problems, 10,000 samples "
            "each) exp(a k^b) fits coverage over four orders of magnitude of k better than a "
            "plain power law and than a line in log k."
        ),
        metric=_FIT_METRIC,
        trial=pythia,
        quick=_pythia_tier(extrapolate=False),
        full=_pythia_tier(extrapolate=False),
        random=False,
    ),
    Claim(
        **_COMMON,
        name="extrapolation",
        statement=(
            "On the same counts exp(a k^b) fitted up to k = 1,000 predicts coverage up to 10,000 "
            "better than a plain power law and than a line in log k."
        ),
        metric=_EXTRAPOLATION_METRIC,
        trial=pythia,
        quick=_pythia_tier(extrapolate=True),
        full=_pythia_tier(extrapolate=True),
        random=False,
    ),
    Claim(
        **_COMMON,
        name="smollm2-arithmetic",
        statement=(
            "With 256 samples of SmolLM2-135M on each of 40 arithmetic problems, exp(a k^b) "
            "fitted up to k = 25 predicts coverage up to 256 better than a plain power law and "
            "than a line in log k."
        ),
        metric=_EXTRAPOLATION_METRIC,
        trial=smollm2,
        full=_smollm2_tier(extrapolate=True),
        requires=("transformers", "accelerate", "gguf"),
    ),
)
