"""Claims of adaptive data analysis, arXiv 1411.2664 and its companions.

``noise`` and ``signal`` are the experiment of "The reusable holdout" (Science 2015; 1506.02629,
section 5): features that agree with the label on the training set and on the holdout are chosen,
vote with equal weight, and the vote's accuracy is reported. The label is Freedman's: independent of
everything, or of all but 20 features. Sizes, thresholds and noise are the experiment's, in standard
deviations of an answer; its threshold, of 4 / sqrt(n) for correlations, is 2 / sqrt(n) for the rate
of agreement. At these sizes nothing is proven for Thresholdout, as the paper says of its own
experiment. The truth is known in closed form, so that no third sample is needed.

``rate`` and ``many-queries`` play the attack of Hardt and Ullman's kind against which plain means
are weakest: random queries first, and last the one that all answers together point to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.statistics.adaptive.accountant import plan_holdout
from paperworks.statistics.adaptive.holdout import ReusableHoldout
from paperworks.statistics.adaptive.mechanisms import BudgetExhausted
from paperworks.statistics.adaptive.thresholdout import Thresholdout
from paperworks.statistics.adaptive.weights import (
    FiniteDomain,
    MultiplicativeWeights,
    most_updates,
)

Array = NDArray[Any]

GUARD, PLAIN, CHANCE = "Thresholdout", "plain holdout", "chance"
GAUSSIAN, MEANS, SPLITTING = "Gaussian guard", "sample means", "sample splitting"
WEIGHTS = "multiplicative weights"
SIGNALS = 20


def draw(rng: np.random.Generator, n: int, d: int, signals: int) -> tuple[Array, Array]:
    """Gaussian features and labels of +-1; the first ``signals`` lean 6 / sqrt(n) to the label."""
    y = rng.integers(0, 2, n) * 2 - 1
    X = rng.standard_normal((n, d), dtype=np.float32)
    X[:, :signals] += 6 / math.sqrt(n) * y[:, None]
    return X, y


def freedman(seed: int, n: int, d: int, signals: int, chosen: list[int]) -> Iterator[Any]:
    """By number of chosen features: what is reported and what is true, guarded and plain."""
    rng = np.random.default_rng(seed)
    train, holdout = draw(rng, n, d, signals), draw(rng, n, d, signals)
    deviation = 0.5 / math.sqrt(n)  # of a mean of values that are 0 or 1
    mechanism = Thresholdout(
        queries=d + len(chosen),
        budget=d // 10,  # the experiment has no budget; chance alone takes some 4 % of queries
        threshold=4 * deviation,
        scale=0.2 * deviation,  # the noise of a comparison is then about one deviation, as there
    )
    guard = ReusableHoldout(train, holdout, mechanism, random_state=seed)
    asked = [guard.ask(lambda X, y, i=i: X[:, i] * y > 0).value for i in range(d)]
    plain = np.mean(holdout[0] * holdout[1][:, None] > 0, axis=0)
    known = np.mean(train[0] * train[1][:, None] > 0, axis=0) - 0.5

    def vote(agreement: Array, k: int) -> Array:
        """Weights of the k features that agree most in training, if the holdout agrees too."""
        seen = agreement - 0.5
        keep = (np.abs(known) > deviation) & (np.abs(seen) > deviation) & (known * seen > 0)
        order = np.argsort(-np.abs(known) * keep, kind="stable")[:k]
        weights = np.zeros(d)
        weights[order] = np.sign(known[order]) * keep[order]
        return weights

    def true_accuracy(weights: Array) -> float:
        lean = 6 / math.sqrt(n) * weights[:signals].sum()
        return float(norm.cdf(lean / math.sqrt(np.abs(weights).sum())))

    def right(weights: Array) -> Callable[[Array, Array], Array]:
        used = np.flatnonzero(weights)
        by = weights[used].astype(np.float32)
        return lambda X, y: (X[:, used] @ by) * y > 0

    for k in chosen:
        guarded, naive = vote(np.array(asked), k), vote(plain, k)
        yield {
            GUARD: (guard.ask(right(guarded)).value, true_accuracy(guarded)),
            PLAIN: (float(np.mean(right(naive)(*holdout))), true_accuracy(naive)),
        }


def noise(*, seed: int, device: str, n: int, d: int, chosen: list[int]) -> TrialResult:
    """How far the reported accuracy of the largest vote is from 1/2, the truth."""
    rows = list(freedman(seed, n, d, 0, chosen))
    curves = [Curve(label, chosen, [row[label][0] for row in rows]) for label in (GUARD, PLAIN)]
    return TrialResult(
        {label: abs(reported - true) for label, (reported, true) in rows[-1].items()}, curves
    )


def signal(*, seed: int, device: str, n: int, d: int, chosen: list[int]) -> TrialResult:
    """The true accuracy of the vote of as many features as have signal."""
    rows = list(freedman(seed, n, d, SIGNALS, chosen))
    curves = [Curve(label, chosen, [row[label][1] for row in rows]) for label in (GUARD, PLAIN)]
    at = rows[chosen.index(SIGNALS)]
    return TrialResult({GUARD: at[GUARD][1], PLAIN: at[PLAIN][1], CHANCE: 0.5}, curves)


def rate(*, seed: int, device: str, n: int, queries: list[int]) -> TrialResult:
    """Exponent with which the largest error grows with the number of queries."""
    errors: dict[str, list[float]] = {label: [] for label in (GAUSSIAN, MEANS, SPLITTING)}
    for k in queries:
        rng = np.random.default_rng([seed, k])
        # k - 1 is odd: no ties. Transposed, since columns are asked for one by one.
        bits = (rng.integers(0, 2, (k - 1, n), dtype=np.int8) * 2 - 1).T
        for label, found in errors.items():
            found.append(majority(label, seed, bits))
    curves = [Curve(label, queries, found) for label, found in errors.items()]
    slopes = {c.label: np.polyfit(np.log(c.x), np.log(c.y), 1)[0] for c in curves}
    return TrialResult(slopes, curves)


def majority(label: str, seed: int, bits: Array) -> float:
    """Largest error over random bits, one query each, and the majority of what they seemed."""
    n, count = bits.shape
    if label == MEANS:

        def ask(query: Callable[[Array], Array]) -> float:
            return float(np.mean(query(bits)))
    else:
        name = "gaussian" if label == GAUSSIAN else "splitting"
        plan = plan_holdout(n, queries=count + 1, mechanism=name)
        guard = ReusableHoldout(None, bits, plan, random_state=seed)

        def ask(query: Callable[[Array], Array]) -> float:
            return guard.ask(query).value

    def bit(i: int) -> Callable[[Array], Array]:
        return lambda x: x[:, i] > 0

    answers = np.array([ask(bit(i)) for i in range(count)])
    signs = np.where(answers >= 0.5, 1, -1).astype(np.int16)
    last = ask(lambda x: x @ signs > 0)
    return float(np.abs(np.append(answers, last) - 0.5).max())  # every truth is 1/2


def many(*, seed: int, device: str, n: int, bits: int, queries: int) -> TrialResult:
    """Largest error over many more queries than samples, about a domain of 2^bits points."""
    rng = np.random.default_rng(seed)
    points = (np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1
    chances = rng.uniform(0.3, 0.7, bits)
    truth = np.prod(np.where(points == 1, chances, 1 - chances), axis=1)
    sample = rng.choice(len(truth), n, p=truth / truth.sum())
    shares = np.bincount(sample, minlength=len(truth)) / n
    domain = FiniteDomain(np.arange(len(truth)))
    # Wrong by 0.1 or more is corrected; noise of a comparison is seldom beyond 0.03.
    mechanism = MultiplicativeWeights(
        queries=queries,
        budget=most_updates(domain.size, 0.07),
        threshold=0.1,
        scale=5e-4,
        domain=domain,
        step=4 * 0.07,
    )
    guards = {
        WEIGHTS: ReusableHoldout(None, sample, mechanism, random_state=seed),
        GAUSSIAN: ReusableHoldout(
            None, sample, plan_holdout(n, queries=queries), random_state=seed
        ),
    }
    marginals = [points[:, i] for i in range(bits)]
    marginals += [points[:, i] ^ points[:, j] for i in range(bits) for j in range(i)]

    def attack(label: str) -> float:
        order = np.random.default_rng([seed, 1])
        score, worst = np.zeros(len(truth)), 0.0
        for j in range(queries):
            if j == queries - 1:
                query = (score > 0).astype(np.int8)
            elif j < len(marginals):
                query = marginals[j]
            else:
                query = order.integers(0, 2, len(truth), dtype=np.int8)
            true = float(query @ truth)
            try:
                said = (
                    float(query @ shares)
                    if label == MEANS
                    else guards[label].ask(lambda x, query=query: query[x]).value
                )
            except BudgetExhausted:
                return 0.5  # an honest 1/2 for the rest would be no better
            worst = max(worst, abs(said - true))
            score += (said - true) * (query - 0.5)
        return worst

    return TrialResult({label: attack(label) for label in (WEIGHTS, GAUSSIAN, MEANS)})


_PAPER: dict[str, Any] = {"paper": "adaptive-data-analysis"}
_QUICK = {"n": 1000, "d": 1000, "chosen": [10, 20, 30, 50]}
_FULL = {"n": 10_000, "d": 10_000, "chosen": [10, 20, 50, 100, 200, 500]}

CLAIMS = (
    Claim(
        **_PAPER,
        name="noise",
        statement=(
            "On a label that is pure noise, the accuracy of features chosen on a holdout and "
            "reported on it is off by at least 5 points more where the holdout is reused plainly "
            "than through Thresholdout."
        ),
        metric="distance of the reported accuracy from the truth",
        better="lower",
        ours=GUARD,
        contenders=(PLAIN,),
        effect=Effect("difference", 0.05),
        trial=noise,
        quick=Tier(works=[_QUICK], seeds=10),
        full=Tier(works=[_FULL], seeds=10, timeout=900, memory=8),
        axes=Axes("features chosen", "reported accuracy (the truth is 0.5)"),
    ),
    Claim(
        **_PAPER,
        name="signal",
        statement=(
            "Where 20 of the features do have signal, those chosen through the same guard are "
            "truly accurate by at least 5 points above chance."
        ),
        metric="true accuracy of the 20 chosen features' vote",
        better="higher",
        ours=GUARD,
        contenders=(CHANCE,),
        effect=Effect("difference", 0.05),
        trial=signal,
        quick=Tier(works=[_QUICK], seeds=10),
        full=Tier(works=[_FULL], seeds=10, timeout=900, memory=8),
        axes=Axes("features chosen", "true accuracy"),
    ),
    Claim(
        **_PAPER,
        name="rate",
        statement=(
            "The largest error grows with the number k of adaptive queries as about k^(1/4) with "
            "Gaussian noise and as k^(1/2) without and by sample splitting: its exponent is lower "
            "by at least 0.15."
        ),
        metric="exponent of the largest error's growth with the number of queries",
        better="lower",
        ours=GAUSSIAN,
        contenders=(MEANS, SPLITTING),
        effect=Effect("difference", 0.15),
        trial=rate,
        # So many samples that no error is near 1/2, where it could not grow further.
        quick=Tier(works=[{"n": 20_000, "queries": [16, 64, 256, 1024]}], seeds=16),
        full=Tier(
            works=[{"n": 160_000, "queries": [16, 64, 256, 1024, 4096]}],
            seeds=10,
            timeout=900,
            memory=8,
        ),
        axes=Axes("queries", "largest error", x_scale="log", y_scale="log"),
    ),
    Claim(
        **_PAPER,
        name="many-queries",
        statement=(
            "With several times as many adaptive queries as samples, private multiplicative "
            "weights make less than half the largest error of sample means and of Gaussian noise."
        ),
        metric="largest error over all queries",
        better="lower",
        ours=WEIGHTS,
        contenders=(MEANS, GAUSSIAN),
        effect=Effect("ratio", 2.0),
        trial=many,
        quick=Tier(works=[{"n": 1000, "bits": 12, "queries": 4000}], seeds=5),
        full=Tier(works=[{"n": 2000, "bits": 14, "queries": 40_000}], seeds=10, timeout=900),
    ),
)
