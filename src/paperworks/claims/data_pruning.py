"""Claims of "Beyond neural scaling laws", arXiv 2206.14486.

Of the theory: that it describes perceptrons of finite size; that with a good probe the error falls
faster than a power law; that hard examples are to be kept with much data, easy ones with little. Of
real data: the last one again; and that the self-supervised prototypes come close to scores that
need labels, and beat a random choice, while a moderate part is pruned.

Random pruning of a pool is the same as drawing a smaller one. The student is the perceptron of
largest margin, found exactly. On images the pool is small, and the encoder that makes the
embedding is trained on the pool itself by SimCLR, since the paper's ImageNet model would say little
of digits. All contenders keep as many examples with the same care for classes (half of an equal
share, as in the paper), and train the same network for the same number of steps from the same seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from paperworks.claims._selfsupervised import classifier, embed
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.data_pruning.prune import prune_dataset
from paperworks.scaling.data_pruning.simulation import simulate_perceptron
from paperworks.scaling.data_pruning.theory import pruned_perceptron
from paperworks.scaling.data_pruning.training import logits_of, train

THEORY, UNPRUNED, TOLERANCE = "replica theory", "theory without pruning", "5 % off"
HARD, EASY, RANDOM = "keep hard", "keep easy", "random"
PRUNED, POWER_LAW = "best share kept", "power law through smaller sizes"
SELF, MARGIN_OF = "self-supervised prototypes", "{}, with a tenth more error"
SUPERVISED = ("EL2N", "forgetting", "supervised prototypes")


def against_theory(
    *, seed: int, device: str, n: int, draws: int, keep: float, theta: float, order: str,
    alphas: list[float],
) -> TrialResult:  # fmt: skip
    """How far predictions are from the mean test error of simulated perceptrons."""
    rng = np.random.default_rng(seed)
    measured, predicted, plain = [], [], []
    for alpha in alphas:
        runs = [
            simulate_perceptron(n, alpha, keep, theta=theta, order=order, rng=rng)
            for _ in range(draws)
        ]
        measured.append(float(np.mean([run.test_error for run in runs])))
        predicted.append(pruned_perceptron(alpha, keep, theta=theta, order=order).test_error)
        plain.append(pruned_perceptron(alpha * keep).test_error)
    truth = np.array(measured)
    values = {
        label: float(np.mean(np.abs(np.array(guess) / truth - 1)))
        for label, guess in ((THEORY, predicted), (UNPRUNED, plain))
    }
    lines = ((THEORY, predicted), (UNPRUNED, plain), ("simulated", measured))
    curves = [Curve(label, alphas, line) for label, line in lines]
    return TrialResult({**values, TOLERANCE: 0.05}, curves)


def which_end(
    *, seed: int, device: str, n: int, draws: int, keep: float, theta: float, alpha_tot: float
) -> TrialResult:
    """Mean test error of simulated perceptrons on the hard, the easy and any examples."""
    values = {}
    for place, (label, order) in enumerate(((HARD, "hard"), (EASY, "easy"), (RANDOM, ""))):
        rng = np.random.default_rng([seed, place])
        pool, share = (alpha_tot, keep) if order else (alpha_tot * keep, 1.0)
        runs = [
            simulate_perceptron(n, pool, share, theta=theta, order=order or "hard", rng=rng)
            for _ in range(draws)
        ]
        values[label] = float(np.mean([run.test_error for run in runs]))
    return TrialResult(values)


def beyond_a_power_law(
    *, seed: int, device: str, n: int, draws: int, theta: float, shares: list[float]
) -> TrialResult:
    """Mean test error with 3 kept examples per dimension, and where a power law would put it.

    For each number of kept examples theory chooses the share, so that the pool grows as it takes.
    The power law goes through the simulated errors at 1 and 1.5.
    """
    alphas = [1.0, 1.5, 3.0]
    chosen: list[float] = []
    plain: list[float] = []
    for alpha in alphas:
        predicted = [pruned_perceptron(alpha / f, f, theta=theta).test_error for f in shares]
        share = shares[int(np.argmin(predicted))]
        for errors, keep in ((chosen, share), (plain, 1.0)):
            rng = np.random.default_rng([seed, len(errors), keep == 1])
            runs = [
                simulate_perceptron(n, alpha / keep, keep, theta=theta, rng=rng)
                for _ in range(draws)
            ]
            errors.append(float(np.mean([run.test_error for run in runs])))
    slope = np.log(chosen[1] / chosen[0]) / np.log(alphas[1] / alphas[0])
    extended = [chosen[1] * (alpha / alphas[1]) ** slope for alpha in alphas]
    lines = ((PRUNED, chosen), (POWER_LAW, extended), (RANDOM, plain))
    return TrialResult(
        {label: line[-1] for label, line in lines},
        [Curve(label, alphas, line) for label, line in lines],
    )


class Images:
    """A pool of images to prune, and the network that is trained on what is left."""

    def __init__(self, name: str, pool: int, seed: int):
        from paperworks.data import load

        data = load(name, seed=seed) if name == "digits" else load(name)
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(data.x_train))[:pool]
        top = float(data.x_train.max())
        self.x, self.x_test = (
            torch.as_tensor(np.asarray(part, dtype=np.float32) / top)[:, None]
            for part in (data.x_train[chosen], data.x_test)
        )
        self.y, self.y_test = np.asarray(data.y_train[chosen]), np.asarray(data.y_test)
        self.seed = seed

    def network(self) -> torch.nn.Module:
        """A fresh one."""
        return classifier(self.x.shape[-1])

    def error(self, kept: np.ndarray, steps: int) -> float:
        """Test error in per cent after that many steps of 64 examples."""
        epochs = max(1, round(steps * 64 / kept.size))
        model = train(
            self.network, self.x[kept], self.y[kept], epochs=epochs, batch_size=64, seed=self.seed
        )
        wrong = int((logits_of(model, self.x_test).argmax(1) != self.y_test).sum())
        return 100 * max(wrong, 0.5) / len(self.y_test)  # a ratio needs more than nothing

    def prune(self, metric: str, data: Any, keep: float, **options: Any) -> Any:
        """Indices of the hard ones."""
        return prune_dataset(data, self.y, keep=keep, metric=metric, rng=self.seed, **options).kept


def metrics(
    *, seed: int, device: str, data: str, pool: int, keep: float, epochs: int, steps: int,
    against: str,
) -> TrialResult:  # fmt: skip
    """Test error after pruning by self-supervised prototypes and by the contenders."""
    bed = Images(data, pool, seed)
    features = embed(bed.x, epochs=epochs, seed=seed)
    chosen = {SELF: bed.prune("prototypes", features, keep)}
    if against == RANDOM:
        chosen[RANDOM] = bed.prune("random", bed.x, keep)
    else:
        common: dict[str, Any] = {"model": bed.network, "batch_size": 64}
        chosen["EL2N"] = bed.prune("el2n", bed.x, keep, models=5, epochs=5, **common)
        chosen["forgetting"] = bed.prune("forgetting", bed.x, keep, models=2, epochs=10, **common)
        chosen["supervised prototypes"] = bed.prune("supervised-prototypes", features, keep)
    errors = {label: bed.error(kept, steps) for label, kept in chosen.items()}
    values = {
        (label if label in (SELF, RANDOM) else MARGIN_OF.format(label)): (
            error if label in (SELF, RANDOM) else 1.1 * error
        )
        for label, error in errors.items()
    }
    return TrialResult(values)


def ends_of_images(
    *, seed: int, device: str, data: str, pool: int, keep: float, steps: int
) -> TrialResult:
    """Test error on the hard, the easy and any images of a pool, ranked by EL2N."""
    bed = Images(data, pool, seed)
    options: dict[str, Any] = {"model": bed.network, "batch_size": 64, "models": 3, "epochs": 5}
    hard = prune_dataset(bed.x, bed.y, keep=keep, metric="el2n", rng=seed, **options)
    easy = prune_dataset(None, bed.y, keep=keep, scores=hard.scores, order="easy", rng=seed)
    chosen = {HARD: hard.kept, EASY: easy.kept, RANDOM: bed.prune("random", bed.x, keep)}
    return TrialResult({label: bed.error(kept, steps) for label, kept in chosen.items()})


_SETTINGS = ((0.5, 0.0, "hard"), (0.3, 0.3, "hard"), (0.5, 0.0, "easy"), (0.5, 0.3, "easy"))
_WIDER = (
    *_SETTINGS,
    (0.1, 0.0, "hard"),
    (0.2, 0.2, "hard"),
    (0.8, 0.6, "hard"),
    (0.2, 0.3, "easy"),
)
_ENDS = ((0.5, 0.0), (0.3, 0.3))
_ERROR = "test error of simulated perceptrons, as a share"


def _theory(settings: Any, n: int, draws: int, alphas: list[float]) -> list[dict[str, Any]]:
    return [
        {"n": n, "draws": draws, "keep": keep, "theta": theta, "order": order, "alphas": alphas}
        for keep, theta, order in settings
    ]


def _ends(alpha_tot: float, n: int, draws: int) -> list[dict[str, Any]]:
    common = {"n": n, "draws": draws, "alpha_tot": alpha_tot}
    return [{"keep": keep, "theta": theta, **common} for keep, theta in _ENDS]


def _beyond(n: int, draws: int, shares: list[float]) -> list[dict[str, Any]]:
    return [{"n": n, "draws": draws, "theta": theta, "shares": shares} for theta in (0.0, 0.1)]


def _images(against: str) -> dict[str, Any]:
    quick = {"data": "digits", "pool": 1437, "keep": 0.7, "epochs": 20, "steps": 400}
    full = {"pool": 3000, "keep": 0.7, "epochs": 8, "steps": 600, "against": against}
    return {
        "quick": Tier([{**quick, "against": against}], seeds=5, timeout=120),
        "full": Tier(
            [{"data": name, **full} for name in ("mnist", "fashion-mnist")], seeds=5, timeout=1800
        ),
    }


_COMMON: dict[str, Any] = {"paper": "data-pruning", "better": "lower"}

CLAIMS = (
    Claim(
        **_COMMON,
        name="theory",
        statement=(
            "The replica theory is within 5 % of the test error of perceptrons of largest margin "
            "trained on pruned data, with perfect and imperfect probes, hard or easy examples "
            "kept, and nearer than the theory that ignores pruning."
        ),
        metric="relative difference from the mean simulated test error, mean over alpha_tot",
        ours=THEORY,
        contenders=(UNPRUNED, TOLERANCE),
        effect=Effect("difference", 0.0),
        trial=against_theory,
        quick=Tier(_theory(_SETTINGS, 150, 12, [2.0, 5.0, 10.0]), seeds=5),
        full=Tier(_theory(_WIDER, 300, 10, [2.0, 5.0, 10.0]), seeds=5, timeout=1800),
        axes=Axes("examples per dimension before pruning", "test error", "log", "log"),
    ),
    Claim(
        **_COMMON,
        name="beyond-a-power-law",
        statement=(
            "As kept examples grow from 1 to 3 per dimension, with a good probe and the share that "
            "theory says is best, the test error of perceptrons falls below the power law through "
            "its values at 1 and 1.5, and below that of random pruning."
        ),
        metric=f"{_ERROR}, at 3 kept examples per dimension",
        ours=PRUNED,
        contenders=(POWER_LAW, RANDOM),
        effect=Effect("ratio", 1.0),
        trial=beyond_a_power_law,
        quick=Tier(_beyond(100, 20, [1.0, 0.7, 0.3, 0.1, 0.03]), seeds=5),
        full=Tier(_beyond(200, 40, [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]), seeds=10),
        axes=Axes("kept examples per dimension", "test error", "log", "log"),
    ),
    Claim(
        **_COMMON,
        name="hard-with-much-data",
        statement=(
            "With 20 examples per dimension a perceptron learns more from the hard ones than from "
            "as many easy ones or as many drawn at random."
        ),
        metric=_ERROR,
        ours=HARD,
        contenders=(EASY, RANDOM),
        effect=Effect("ratio", 1.0),
        trial=which_end,
        quick=Tier(_ends(20.0, 100, 10), seeds=5),
        full=Tier(_ends(20.0, 200, 10), seeds=10, timeout=1800),
    ),
    Claim(
        **_COMMON,
        name="easy-with-little-data",
        statement=(
            "With 2 examples per dimension a perceptron learns more from the easy ones than from "
            "as many hard ones or as many drawn at random."
        ),
        metric=_ERROR,
        ours=EASY,
        contenders=(HARD, RANDOM),
        effect=Effect("ratio", 1.0),
        trial=which_end,
        quick=Tier(_ends(2.0, 100, 20), seeds=5),
        full=Tier(_ends(2.0, 200, 40), seeds=10, timeout=1800),
    ),
    Claim(
        **_COMMON,
        name="hard-with-many-images",
        statement=(
            "Of 6,000 images half, the hard half by EL2N, trains a network to a lower test error "
            "than the easy half or a random one."
        ),
        metric="test error in per cent",
        ours=HARD,
        contenders=(EASY, RANDOM),
        effect=Effect("ratio", 1.0),
        trial=ends_of_images,
        full=Tier(
            [
                {"data": name, "pool": 6000, "keep": 0.5, "steps": 600}
                for name in ("mnist", "fashion-mnist")
            ],
            seeds=5,
            timeout=1800,
        ),
    ),
    Claim(
        **_COMMON,
        name="easy-with-few-images",
        statement=(
            "Of 200 images half, the easy half by EL2N, trains a network to a lower test error "
            "than the hard half or a random one."
        ),
        metric="test error in per cent",
        ours=EASY,
        contenders=(HARD, RANDOM),
        effect=Effect("ratio", 1.0),
        trial=ends_of_images,
        full=Tier(
            [
                {"data": name, "pool": 200, "keep": 0.5, "steps": 300}
                for name in ("mnist", "fashion-mnist")
            ],
            seeds=10,
            timeout=1800,
        ),
    ),
    Claim(
        **_COMMON,
        name="self-supervised-beats-random",
        statement=(
            "With 70 % of the images kept, those chosen by self-supervised prototypes train a "
            "network to a lower test error than those chosen at random."
        ),
        metric="test error in per cent",
        ours=SELF,
        contenders=(RANDOM,),
        effect=Effect("ratio", 1.0),
        trial=metrics,
        **_images(RANDOM),
    ),
    Claim(
        **_COMMON,
        name="self-supervised-near-supervised",
        statement=(
            "With 70 % of the images kept, the test error after self-supervised prototypes is at "
            "most a tenth above that after EL2N, forgetting scores or supervised prototypes."
        ),
        metric="test error in per cent; the contenders' times 1.1",
        ours=SELF,
        contenders=tuple(MARGIN_OF.format(label) for label in SUPERVISED),
        effect=Effect("ratio", 1.0),
        trial=metrics,
        **_images("supervised"),
    ),
)
