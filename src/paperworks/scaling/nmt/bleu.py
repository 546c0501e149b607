r"""BLEU against loss: a power law, and where it stops holding.

Ghorbani et al., arXiv 2109.07740, relate the quality of the translations to the test loss of the
same models by ``BLEU = c L^-p``. On target-original test sets they see both improve together;
on source-original ones BLEU stops improving below some loss, while the loss goes on falling. Here
that end is a law of its own,

    BLEU = c max(L, L_stop)^-p

and both are judged by the models with the least loss, which neither saw when it was fitted. The
second law and the judging are ours. Gordon et al. (EMNLP 2021) use ``c exp(-k L)``; over the range
of one experiment the two are hardly told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting import (
    Comparison,
    Estimate,
    Law,
    LawFit,
    LawPrediction,
    Parameter,
    compare_laws,
    fit_law,
)

FloatArray = NDArray[np.float64]

# The core holds out the runs with the largest variable: that is 1 / L, the goodness of a model.
_GOODNESS = "1/loss"


def _power(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    x = logx[:, 0]
    log_y = theta[:, :1] + theta[:, 1:2] * x
    return log_y, np.stack(np.broadcast_arrays(1.0, np.broadcast_to(x, log_y.shape)), -1)


def _power_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    x, log_y = logx[:, 0], np.log(y)
    slope = float(np.polyfit(x, log_y, 1)[0]) if np.ptp(x) > 0 else 0.0
    slopes = np.array([slope, slope / 2, slope * 2, 0.5, 1.0, 2.0])
    return np.stack([np.median(log_y - slopes[:, None] * x, 1), slopes], 1)


def _levelled(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    """theta: log c, p, and the logarithm of 1 / L_stop."""
    x = logx[:, 0]
    c, p, stop = (theta[:, i : i + 1] for i in range(3))
    over = x > stop
    reach = np.where(over, stop, x)
    jacobian = np.stack([np.ones_like(reach), reach, np.where(over, p, 0.0)], -1)
    return c + p * reach, jacobian


def _levelled_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    x = logx[:, 0]
    found = []
    for stop in np.quantile(x, [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0]):
        reach = np.minimum(x, stop)[:, None]
        for c, p in _power_start(reach, y)[:1]:
            found.append([c, p, stop])
    return np.array(found)


_C = Parameter("c")
_P = Parameter("p", "linear", -50.0, 50.0)
POWER = Law("bleu-power", "BLEU = c L^-p", (_GOODNESS,), (_C, _P), _power, _power_start)
LEVELLED = Law(
    "bleu-levelled",
    "BLEU = c max(L, L_stop)^-p",
    (_GOODNESS,),
    (_C, _P, Parameter("1/L_stop")),
    _levelled,
    _levelled_start,
)


@dataclass(frozen=True)
class BleuLaw:
    """BLEU of a model as a law in its test loss, ``BLEU = c max(L, L_stop)^-p``.

    Parameters
    ----------
    c : float
        BLEU at a loss of 1, > 0, in the unit of BLEU (per cent or a share).
    p : float
        Exponent: at ``p = 2`` a loss lower by 1 % brings BLEU higher by 2 %.
    L_stop : float
        The loss below which BLEU stops improving. Default 0, the paper's law: it never does.
    source : LawFit, optional
        The fit behind the constants, which :meth:`fit` fills in. Its variable is 1 / loss.

    Raises
    ------
    ValueError
        Where a constant is outside its range.

    Notes
    -----
    The relation holds for one test set, one tokenization, and models that differ in size alone.
    Losses of different vocabularies do not compare. BLEU cannot pass 100 and the law does not know
    it: do not follow it far.

    Source: Ghorbani et al., arXiv 2109.07740.

    Examples
    --------
    >>> law = BleuLaw(c=60.0, p=1.5)
    >>> law([1.0, 1.44]).round(2).tolist()
    [60.0, 34.72]
    >>> BleuLaw(60.0, 1.5, L_stop=1.2)([1.0, 1.1, 1.44]).round(2).tolist()
    [45.64, 45.64, 34.72]
    """

    c: float
    p: float
    L_stop: float = 0.0
    source: LawFit | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.c) and self.c > 0):
            raise ValueError(f"c must be finite and > 0, got {self.c}")
        if not math.isfinite(self.p):
            raise ValueError(f"p must be finite, got {self.p}")
        if not (math.isfinite(self.L_stop) and self.L_stop >= 0):
            raise ValueError(f"L_stop must be finite and >= 0, got {self.L_stop}")

    @classmethod
    def fit(
        cls,
        loss: ArrayLike,
        bleu: ArrayLike,
        *,
        levels_off: bool = False,
        groups: ArrayLike | None = None,
        **settings: Any,
    ) -> BleuLaw:
        """Fit the law to models of one test set.

        Parameters
        ----------
        loss : (n,) float
            Test cross-entropy of each model, > 0.
        bleu : (n,) float
            BLEU of its translations of the same test set, > 0.
        levels_off : bool
            Whether to look for a loss below which BLEU stops improving. Default False, as in the
            paper. :func:`compare_bleu_laws` says whether it is worth it.
        groups : (n,) array, optional
            The run of each row, where a run has several (checkpoints, say).
        **settings
            ``confidence``, ``resamples``, ``rng``, ``delta`` and ``space`` of
            :func:`paperworks.scaling.fitting.fit_law`.

        Returns
        -------
        BleuLaw

        Raises
        ------
        ValueError
            Where values are not positive or not finite, or there are too few models.

        Examples
        --------
        >>> loss = np.linspace(1.2, 2.0, 12)
        >>> noise = np.random.default_rng(0).normal(0, 0.005, 12)
        >>> law = BleuLaw.fit(loss, 60 * loss**-1.5 * np.exp(noise), resamples=50)
        >>> abs(law.p - 1.5) < 0.1
        True
        """
        found = fit_law(
            LEVELLED if levels_off else POWER,
            {_GOODNESS: _goodness(loss)},
            bleu,
            groups=groups,
            **settings,
        )
        values = [
            float(each.values(found.theta[i : i + 1])[0])
            for i, each in enumerate(found.law.parameters)
        ]
        return cls(values[0], values[1], 1 / values[2] if levels_off else 0.0, source=found)

    @property
    def converged(self) -> bool:
        """Whether the fit met its tolerance; True for a law from constants."""
        return self.source is None or self.source.converged

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the models cannot say, in sentences; empty for a law from constants."""
        return () if self.source is None else self.source.warnings

    @property
    def intervals(self) -> dict[str, Estimate]:
        """``c``, ``p`` and ``L_stop`` where it was fitted, with intervals over resampled runs."""
        found = dict(self._fitted().parameters)
        if "1/L_stop" in found:
            stop = found.pop("1/L_stop")
            found["L_stop"] = Estimate(1 / stop.value, 1 / stop.high, 1 / stop.low)
        return found

    def __call__(self, loss: ArrayLike) -> FloatArray:
        """BLEU at these losses, in their shape."""
        return np.asarray(self.c * np.maximum(1 / _goodness(loss), self.L_stop) ** -self.p)

    def predict(
        self, loss: ArrayLike, *, confidence: float | None = None, new_run: bool = False
    ) -> LawPrediction:
        """BLEU at these losses with an interval: of the curve, or of one more model."""
        return self._fitted().predict(
            {_GOODNESS: _goodness(loss)}, confidence=confidence, new_run=new_run
        )

    def loss_for(self, bleu: float) -> float:
        """The loss that a BLEU takes.

        Returns
        -------
        float
            0 where no loss gets there, because BLEU stops improving before.

        Examples
        --------
        >>> round(BleuLaw(60.0, 1.5).loss_for(34.72), 3)
        1.44
        >>> BleuLaw(60.0, 1.5, L_stop=1.2).loss_for(50.0)
        0.0
        """
        if not (math.isfinite(bleu) and bleu > 0):
            raise ValueError(f"bleu must be finite and > 0, got {bleu}")
        if self.p <= 0:
            raise ValueError(
                f"p is {self.p:g}: in these models BLEU does not rise as the loss falls"
            )
        loss = (bleu / self.c) ** (-1 / self.p)
        return loss if loss >= self.L_stop else 0.0

    def _fitted(self) -> LawFit:
        if self.source is None:
            raise ValueError(
                "this law was made from constants and knows no runs; use BleuLaw.fit, or call the "
                "law for values alone"
            )
        return self.source


def compare_bleu_laws(
    loss: ArrayLike,
    bleu: ArrayLike,
    *,
    fraction: float = 0.25,
    groups: ArrayLike | None = None,
    **settings: Any,
) -> Comparison:
    """Whether BLEU still follows the loss: both laws predict the models with the least loss.

    Parameters
    ----------
    loss, bleu, groups
        As for :meth:`BleuLaw.fit`.
    fraction : float
        Share of the models that is held out, those with the least loss.
    **settings
        As for :func:`paperworks.scaling.fitting.compare_laws`.

    Returns
    -------
    Comparison
        ``ranked`` has ``"bleu-power"`` and ``"bleu-levelled"``, the better one first. A positive
        ``bias`` of the power law says that the best models translate worse than their loss
        promised. An end that lies within the held-out models only shows there: neither law can
        foresee it, and then the bias is the sign to look for.

    Examples
    --------
    >>> loss = np.linspace(1.2, 2.0, 16)
    >>> noise = np.random.default_rng(0).normal(0, 0.005, 16)
    >>> found = compare_bleu_laws(loss, BleuLaw(60, 1.5, 1.6)(loss) * np.exp(noise), resamples=20)
    >>> next(iter(found.ranked)), found.ranked["bleu-power"].bias > 0.05
    ('bleu-levelled', True)
    """
    return compare_laws(
        [POWER, LEVELLED],
        {_GOODNESS: _goodness(loss)},
        bleu,
        fraction=fraction,
        groups=groups,
        **settings,
    )


def _goodness(loss: ArrayLike) -> FloatArray:
    values = np.asarray(loss, dtype=np.float64)
    bad = values[~(np.isfinite(values) & (values > 0))]
    if bad.size:
        raise ValueError(f"loss must be finite and > 0, got {bad.flat[0]}")
    return np.asarray(1 / values)
