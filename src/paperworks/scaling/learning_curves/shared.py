"""One exponent for several learners, and whether that is enough.

Hestness et al., arXiv 1712.00409: better models of one problem shift its
learning curve down and leave its exponent alone. So the learners of a problem have the law

    error_k = E_k + A_k size^-alpha

with one ``alpha``, and floors and amplitudes (and plateaus) of their own. The paper compares
exponents that were fitted one by one. Here both laws are fitted to all points together, and the
criterion of :mod:`.selection` says whether exponents of their own are worth their price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting import Estimate, LawPrediction
from paperworks.scaling.fitting.law import Law, Parameter
from paperworks.scaling.learning_curves.curve import check_points
from paperworks.scaling.learning_curves.results import prediction
from paperworks.scaling.learning_curves.selection import (
    Points,
    RobustFit,
    criterion,
    fit_robust,
    most_constants,
    redraw,
)
from paperworks.scaling.learning_curves.shapes import STEEPEST, Constants, FloatArray, Shape
from paperworks.scaling.levels import check_level

_SHAPES = (
    Shape(),
    Shape(floor=True),
    Shape(plateau=True),
    Shape(plateau=True, floor=True),
)
_EXPONENTS = (0.1, 0.2, 0.35, 0.6, 1.0)  # tried beside those that the learners have alone


@dataclass(frozen=True)
class SharedExponent:
    """Learning curves of several learners with one exponent. Make one with :meth:`fit`.

    Parameters
    ----------
    learners : tuple of str
        In alphabetical order.
    shape : Shape
        Which regions the curves have; the same for all.
    weight : float
        How much the points speak for one exponent, against one for each learner, from 0 to 1.
    rms, own_rms : float
        Root mean squared residual of log error with one exponent, and with their own.
    converged : bool
        Whether both fits met their tolerance.
    confidence : float
        Level of the intervals.

    Examples
    --------
    >>> size = np.tile([100, 300, 1000, 3000, 10_000], 2)
    >>> learner = np.repeat(["small", "large"], 5)
    >>> error = np.where(learner == "small", 3.0, 2.0) * size**-0.35
    >>> found = SharedExponent.fit(size, error, learner)
    >>> round(found.exponent.value, 3), found.weight > 0.5
    (0.35, True)
    >>> found.predict(30_000, "large").value.round(4).tolist()
    0.0542
    """

    learners: tuple[str, ...]
    shape: Shape
    weight: float
    rms: float
    own_rms: float
    converged: bool
    confidence: float
    _shared: _Joint = field(repr=False)
    _own: _Joint = field(repr=False)

    @classmethod
    def fit(
        cls,
        size: ArrayLike,
        error: ArrayLike,
        learner: ArrayLike,
        *,
        chance: float | None = None,
        runs: ArrayLike | None = None,
        confidence: float = 0.95,
        resamples: int = 500,
        rng: int | np.random.Generator = 0,
    ) -> SharedExponent:
        """Fit the tables of several learners on one problem.

        Parameters
        ----------
        size, error : (n,) float
            As for :meth:`LearningCurve.fit`; each learner needs 4 rows and 3 different sizes.
        learner : (n,) array
            The name of each row's learner: an architecture, or a model size.
        chance, runs, confidence, resamples, rng
            As for :meth:`LearningCurve.fit`.

        Returns
        -------
        SharedExponent

        Raises
        ------
        ValueError
            For fewer than two learners, and as :meth:`LearningCurve.fit`.

        Notes
        -----
        Cost O(resamples n p^2) a step, with about three constants for each learner.
        """
        names = np.asarray(learner).astype(str)
        if names.shape != np.shape(size):
            raise ValueError(
                f"learner must name the learner of each of {np.size(size)} rows, got shape "
                f"{names.shape}"
            )
        learners = tuple(sorted(set(names.tolist())))
        if len(learners) < 2:
            raise ValueError(
                f"a shared exponent needs at least two learners, got {', '.join(learners)}; for "
                "one, use LearningCurve.fit"
            )
        if chance is not None and not (math.isfinite(chance) and chance > 0):
            raise ValueError(f"chance must be > 0, the error of guessing, got {chance}")
        check_level(confidence)
        parts, rows = [], []
        for name in learners:
            mine = names == name
            try:
                parts.append(check_points(np.asarray(size)[mine], np.asarray(error)[mine], None, 4))
            except ValueError as fault:
                raise ValueError(f"learner {name!r}: {fault}") from None
            rows.append(np.flatnonzero(mine)[np.argsort(np.asarray(size)[mine], kind="stable")])
        named = None
        if runs is not None:
            ordered = check_points(size, error, runs).runs
            assert ordered is not None
            named = np.empty_like(ordered)
            named[np.argsort(np.asarray(size, dtype=np.float64), kind="stable")] = ordered
            named = named[np.concatenate(rows)]
        shared, own = _choose(parts, chance)
        generator = np.random.default_rng(rng)
        shared = shared.redrawn(parts, named, resamples, generator)
        own = own.redrawn(parts, named, resamples, generator)
        gap = min(max((shared.criterion - own.criterion) / 2, -700.0), 700.0)
        return cls(
            learners,
            shared.shape,
            1 / (1 + math.exp(gap)),
            shared.fit.rms,
            own.fit.rms,
            shared.fit.converged and own.fit.converged,
            confidence,
            shared,
            own,
        )

    @property
    def exponent(self) -> Estimate:
        """The one exponent."""
        return self._estimate(self._shared, 0)

    @property
    def own_exponents(self) -> dict[str, Estimate]:
        """Each learner's exponent where it has one of its own."""
        return {name: self._estimate(self._own, k) for k, name in enumerate(self.learners)}

    def floor(self, learner: str) -> Estimate:
        """A learner's irreducible error; 0 where the shape has none."""
        return self._estimate(self._shared, self._index(learner), "floor")

    def predict(self, size: ArrayLike, learner: str, *, own: bool = False) -> LawPrediction:
        """A learner's errors at some sizes, with one exponent or (``own``) with its own.

        The interval is for the curve, within the chosen shape.
        """
        sizes = np.asarray(size, dtype=np.float64)
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError(f"size must be finite and > 0, got {size!r}")
        joint, k = (self._own if own else self._shared), self._index(learner)
        flat = sizes.ravel()
        value = joint.constants(joint.fit.theta[None], k).error(flat)[0]
        curves = joint.constants(joint.draws, k).error(flat)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
        return prediction(sizes, value, (low, high), self.confidence, joint.spans[k])

    def _index(self, learner: str) -> int:
        if str(learner) not in self.learners:
            raise ValueError(f"no learner is called {learner!r}; there are {self.learners}")
        return self.learners.index(str(learner))

    def _estimate(self, joint: _Joint, k: int, name: str = "alpha") -> Estimate:
        value = float(getattr(joint.constants(joint.fit.theta[None], k), name)[0])
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(
            getattr(joint.constants(joint.draws, k), name), [tail, 1 - tail]
        ).tolist()
        return Estimate(value, min(low, value), max(high, value))


@dataclass(frozen=True)
class _Joint:
    """The curves of all learners in one fit: exponents first, then each learner's other constants.

    ``shared`` says whether there is one exponent or one for each.
    """

    shape: Shape
    shared: bool
    chance: float | None
    count: int
    fit: RobustFit
    criterion: float
    spans: tuple[tuple[float, float], ...]
    draws: FloatArray

    def constants(self, theta: FloatArray, k: int) -> Constants:
        return self.shape.constants(
            _split(theta, k, self.shape, self.shared, self.chance, self.count), self.chance
        )

    def redrawn(
        self,
        parts: Sequence[Points],
        runs: NDArray[np.int64] | None,
        count: int,
        rng: np.random.Generator,
    ) -> _Joint:
        law, logx, y = _law(parts, self.shape, self.shared, self.chance), *_table(parts)
        draws = redraw(law, logx, y, self.fit, runs, count, rng)
        return _Joint(**{**self.__dict__, "draws": draws})


def _choose(parts: Sequence[Points], chance: float | None) -> tuple[_Joint, _Joint]:
    """The best shape, with one exponent and with one each."""
    most = min(most_constants(part.size.size, np.unique(part.size).size) for part in parts)
    shapes = [each for each in _SHAPES if len(each.law(chance).parameters) <= most]
    found = []
    for shape in shapes:
        law = shape.law(chance)
        alone = [
            fit_robust(law, part.logx, part.error, law.start(part.logx, part.error)).theta
            for part in parts
        ]
        found.append([_fit(parts, shape, shared, chance, alone) for shared in (True, False)])
    best = min(found, key=lambda pair: min(each.criterion for each in pair))
    return best[0], best[1]


def _fit(
    parts: Sequence[Points],
    shape: Shape,
    shared: bool,
    chance: float | None,
    alone: Sequence[FloatArray],
) -> _Joint:
    law, logx, y = _law(parts, shape, shared, chance), *_table(parts)
    at = _exponent_at(shape, chance)
    own = [float(theta[at]) for theta in alone]
    starts = []
    for alpha in [*own, float(np.mean(own)), *_EXPONENTS] if shared else [None]:
        row = [] if alpha is None else [alpha]
        row += own if alpha is None else []
        for part, theta in zip(parts, alone, strict=True):
            moved = theta.copy()
            if alpha is not None and not shape.plateau:
                # Turned about the middle of its points: log A is just before the exponent.
                moved[at - 1] += (alpha - theta[at]) * float(np.log(part.size).mean())
            row += np.delete(moved, at).tolist()
        starts.append(row)
    fit = fit_robust(law, logx, y, np.array(starts))
    return _Joint(
        shape,
        shared,
        chance,
        len(parts),
        fit,
        criterion(y.size, fit.theta.size, fit.scale),
        tuple((float(part.size.min()), float(part.size.max())) for part in parts),
        np.empty((0, fit.theta.size)),
    )


def _exponent_at(shape: Shape, chance: float | None) -> int:
    return [each.name for each in shape.law(chance).parameters].index("alpha")


def _split(
    theta: FloatArray, k: int, shape: Shape, shared: bool, chance: float | None, count: int
) -> FloatArray:
    """One learner's own vectors (B, q) out of the joint ones (B, p)."""
    at = _exponent_at(shape, chance)
    rest = len(shape.law(chance).parameters) - 1
    first = (1 if shared else count) + k * rest
    return np.insert(theta[:, first : first + rest], at, theta[:, 0 if shared else k], axis=1)


def _table(parts: Sequence[Points]) -> tuple[FloatArray, FloatArray]:
    """Log size and the learner's number as (n, 2), and errors (n,)."""
    which = np.concatenate([np.full(part.size.size, float(k)) for k, part in enumerate(parts)])
    logx = np.concatenate([np.log(part.size) for part in parts])
    return np.stack([logx, which], 1), np.concatenate([part.error for part in parts])


def _law(parts: Sequence[Points], shape: Shape, shared: bool, chance: float | None) -> Law:
    law, at, count = shape.law(chance), _exponent_at(shape, chance), len(parts)
    # Bounds as for the shapes with a plateau: a power law that rises is none of these.
    exponent = Parameter("alpha", "linear", 0.0, STEEPEST, open_below=True)
    rest = [each for i, each in enumerate(law.parameters) if i != at]
    return Law(
        name=f"{shape}, {'one exponent' if shared else 'own exponents'}",
        formula=law.formula,
        variables=("size", "learner"),
        parameters=(*[exponent] * (1 if shared else count), *rest * count),
        evaluate=partial(_evaluate, shape=shape, shared=shared, chance=chance, count=count),
        start=lambda logx, y: np.empty((0, 0)),
    )


def _evaluate(
    theta: FloatArray,
    logx: FloatArray,
    *,
    shape: Shape,
    shared: bool,
    chance: float | None,
    count: int,
) -> tuple[FloatArray, FloatArray]:
    law, at = shape.law(chance), _exponent_at(shape, chance)
    rest = len(law.parameters) - 1
    value = np.empty((len(theta), len(logx)))
    jacobian = np.zeros((*value.shape, theta.shape[1]))
    for k in range(count):
        mine = np.flatnonzero(logx[:, 1] == k)
        of_mine, slopes = law.evaluate(
            _split(theta, k, shape, shared, chance, count), logx[mine, :1]
        )
        value[:, mine] = of_mine
        first = (1 if shared else count) + k * rest
        jacobian[:, mine, first : first + rest] = np.delete(slopes, at, axis=2)
        jacobian[:, mine, 0 if shared else k] = slopes[..., at]
    return value, jacobian
