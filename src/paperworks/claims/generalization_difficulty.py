"""Generalization difficulty, arXiv 2305.01034: which task is harder, and how difficulty grows.

The order of the abstract, MNIST < CIFAR-10 < ImageNet, is measured on random subsets of the first
two, equally many points each, at one target error; ImageNet enters by its authors' numbers at its
own size, since its images are not to be had here. The quick tier puts scikit-learn's digits and
MNIST-1D in the places of MNIST and CIFAR-10: a linear model reads the first and fails on the
second.

The growth laws are tested twice: on what the estimates say of generated data (cubes of known
dimension, turned into a larger space, with classes in bands along one edge), and on the formula
with the authors' numbers for seven tasks, going up to twice the dimension or to an eighth of the
class distance. Both laws have two constants and are fitted to the same small tasks; what counts is
the larger ones. On generated data the number of points stays the same, so that in many dimensions
they no longer see the gap between classes: that is how a user would meet the law, and not what the
paper derives. The claims on published tasks, which hold all else fixed, were added after the others
had been run once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.generalization_difficulty.classification import ClassificationTask
from paperworks.scaling.generalization_difficulty.published import published_tasks

FloatArray = NDArray[np.float64]

HARDER, EASIER = "the harder set", "the easier set"
IMAGENET, MEASURED = "ImageNet, published numbers", "a set measured here"
EXPONENTIAL, POWER = "exponential", "power law"

_ERROR = 0.01
_SPACE = 24  # dimensions that the cubes are turned into


def measured(name: str, points: int, rng: np.random.Generator) -> float:
    """log10 bits of a random subset of a data set's training part."""
    from paperworks.data import load

    data = load(name)
    chosen = rng.choice(len(data.x_train), points, replace=False)
    task = ClassificationTask.from_data(
        data.x_train[chosen], data.y_train[chosen], resamples=1, rng=rng
    )
    return task.complexity(_ERROR).log10_bits


def order(*, seed: int, device: str, easier: str, harder: str, points: int) -> TrialResult:
    """Two measured sets."""
    rng = np.random.default_rng(seed)
    return TrialResult(
        {HARDER: measured(harder, points, rng), EASIER: measured(easier, points, rng)}
    )


def below_imagenet(*, seed: int, device: str, name: str, points: int) -> TrialResult:
    """A measured set, and ImageNet from its authors' numbers."""
    imagenet = published_tasks()["ImageNet"].task.complexity(_ERROR)
    rng = np.random.default_rng(seed)
    return TrialResult({IMAGENET: imagenet.log10_bits, MEASURED: measured(name, points, rng)})


def bands(points: int, dimension: int, detail: int, rng: np.random.Generator) -> float:
    """log10 bits of a cube cut into ``detail`` bands of two classes, half of each left empty."""
    X = rng.random((4 * points, dimension))
    along = X[:, 0] * detail
    inside = np.flatnonzero(along % 1 < 0.5)[:points]
    y = along[inside].astype(int) % 2
    turn = np.linalg.qr(rng.standard_normal((_SPACE, _SPACE)))[0][:dimension]
    task = ClassificationTask.from_data((X[inside] - 0.5) @ turn, y, resamples=1, rng=rng)
    return task.complexity(_ERROR).log10_bits


def growth(
    *,
    seed: int,
    device: str,
    points: int,
    dimensions: list[int],
    details: list[int],
    fitted: int,
) -> TrialResult:
    """Fit both laws to the first ``fitted`` tasks, judge them on the others."""
    rng = np.random.default_rng(seed)
    grid = [(m, detail) for m in dimensions for detail in details]
    x = np.array(dimensions if len(dimensions) > 1 else details, float)
    return judge(x, np.array([bands(points, m, detail, rng) for m, detail in grid]), fitted)


def judge(x: FloatArray, found: FloatArray, fitted: int) -> TrialResult:
    """Fit log10 bits as a line in x and as one in log x; error beyond the fitted part."""
    values, curves = {}, [Curve("measured", x.tolist(), found.tolist())]
    for label, axis in ((EXPONENTIAL, x), (POWER, np.log(x))):
        line = np.polynomial.Polynomial.fit(axis[:fitted], found[:fitted], 1)(axis)
        gap = line[fitted:] - found[fitted:]
        values[label] = float(np.sqrt((gap * gap).mean()))
        curves.append(Curve(label, x.tolist(), line.tolist()))
    return TrialResult(values, curves)


def growth_of_published(*, seed: int, device: str, name: str, over: str) -> TrialResult:
    """Both laws on a published task whose dimension, or resolution, alone grows."""
    published = published_tasks()[name]
    task = published.task
    factors = np.linspace(1, 2, 21) if over == "dimension" else np.geomspace(1, 8, 21)
    found = []
    for factor in factors:
        if over == "dimension":
            larger = replace(task, dimension=task.dimension * factor)
        elif isinstance(task, ClassificationTask):
            larger = replace(task, class_distance=task.class_distance / factor)
        else:
            larger = replace(task, resolution=task.resolution / factor)
        found.append(larger.complexity(published.target_error).log10_bits)
    return judge(factors, np.array(found), 11)


_BITS = "bits of inductive bias at an error of 0.01, powers of ten"
_MISS = "root mean squared error of predicted log10 bits of the larger tasks"
_COMMON: dict[str, Any] = {"paper": "generalization-difficulty"}
_ORDER: dict[str, Any] = {
    **_COMMON,
    "metric": _BITS,
    "better": "higher",
    "effect": Effect("difference", 0.0),
}
_GROWTH: dict[str, Any] = {
    **_COMMON,
    "metric": _MISS,
    "better": "lower",
    "effect": Effect("ratio", 1.0),
}
_PUBLISHED = ("MNIST", "SVHN", "CIFAR-10", "ImageNet", "Reacher", "Hopper", "Half-Cheetah")


def _published(over: str) -> Tier:
    return Tier(works=[{"name": name, "over": over} for name in _PUBLISHED], seeds=1)


_QUICK_SETS = ("digits", "mnist1d")
_FULL_POINTS = 20_000
# More points than about 4,000 fix every coefficient of the smallest tasks, which leaves 0 bits.
_POINTS, _MORE_POINTS = 1500, 3000
_CUBES: dict[str, Any] = {"dimensions": list(range(2, 11)), "details": [4], "fitted": 5}
_BANDS: dict[str, Any] = {"dimensions": [3], "details": [2, 3, 4, 6, 8, 12, 16], "fitted": 4}

CLAIMS = (
    Claim(
        **_ORDER,
        name="order",
        statement=(
            "CIFAR-10 asks for more bits of inductive bias than MNIST (in the quick tier: MNIST-1D "
            "for more than digits), both measured on equally many points."
        ),
        ours=HARDER,
        contenders=(EASIER,),
        trial=order,
        quick=Tier(works=[{"easier": "digits", "harder": "mnist1d", "points": 1200}], seeds=5),
        full=Tier(
            works=[{"easier": "mnist", "harder": "cifar10", "points": _FULL_POINTS}],
            seeds=5,
            timeout=1800,
        ),
    ),
    Claim(
        **_ORDER,
        name="order-imagenet",
        statement=(
            "ImageNet, by its published dimension, radius and class distance, asks for more bits "
            "than MNIST and CIFAR-10 measured here (in the quick tier: than digits and MNIST-1D)."
        ),
        ours=IMAGENET,
        contenders=(MEASURED,),
        trial=below_imagenet,
        quick=Tier(works=[{"name": name, "points": 1200} for name in _QUICK_SETS], seeds=5),
        full=Tier(
            works=[{"name": name, "points": _FULL_POINTS} for name in ("mnist", "cifar10")],
            seeds=5,
            timeout=1800,
        ),
    ),
    Claim(
        **_GROWTH,
        name="dimension",
        statement=(
            "Bits measured on cubes of 2 to 6 dimensions, cut into bands of one width, predict "
            "those of 7 to 10 dimensions better as an exponential of the dimension than as a power."
        ),
        trial=growth,
        ours=EXPONENTIAL,
        contenders=(POWER,),
        axes=Axes("dimension", "log10 bits"),
        quick=Tier(works=[{"points": _POINTS, **_CUBES}], seeds=5),
        full=Tier(works=[{"points": _MORE_POINTS, **_CUBES}], seeds=10, timeout=600),
    ),
    Claim(
        **_GROWTH,
        name="resolution",
        statement=(
            "Bits measured on a cube of 3 dimensions cut into 2 to 6 bands predict those of 8 to "
            "16 bands better as a power of the number of bands than as an exponential."
        ),
        trial=growth,
        ours=POWER,
        contenders=(EXPONENTIAL,),
        axes=Axes("bands, half of each left empty", "log10 bits", x_scale="log"),
        quick=Tier(works=[{"points": _POINTS, **_BANDS}], seeds=5),
        full=Tier(works=[{"points": _MORE_POINTS, **_BANDS}], seeds=10, timeout=600),
    ),
    Claim(
        **_GROWTH,
        name="dimension-published",
        statement=(
            "For seven tasks of the paper by its authors' numbers, bits at up to 1.5 times the "
            "dimension predict those at up to twice the dimension better as an exponential of the "
            "dimension than as a power, all else fixed."
        ),
        trial=growth_of_published,
        ours=EXPONENTIAL,
        contenders=(POWER,),
        axes=Axes("dimension, in that of the task", "log10 bits"),
        quick=_published("dimension"),
        full=_published("dimension"),
        random=False,
    ),
    Claim(
        **_GROWTH,
        name="resolution-published",
        statement=(
            "For the same seven tasks, bits at up to 2.8 times the resolution predict those at up "
            "to 8 times better as a power of the resolution than as an exponential, all else fixed."
        ),
        trial=growth_of_published,
        ours=POWER,
        contenders=(EXPONENTIAL,),
        axes=Axes("resolution, in that of the task", "log10 bits", x_scale="log"),
        quick=_published("resolution"),
        full=_published("resolution"),
        random=False,
    ),
)
