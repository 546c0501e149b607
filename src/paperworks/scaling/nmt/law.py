r"""The bivariate law: loss in the sizes of the encoder and of the decoder.

Ghorbani et al., "Scaling Laws for Neural Machine Translation", arXiv 2109.07740:

    L(N_e, N_d) = alpha (N_e_bar / N_e)^p_e (N_d_bar / N_d)^p_d + L_inf

Sizes are parameters without embeddings and softmax. The reference sizes ``N_e_bar`` and ``N_d_bar``
are free to choose, and only say at which model ``alpha`` is the reducible loss; the paper takes
those of its baseline model. Departures: by default they are the geometric means of the runs' sizes,
where ``alpha`` is determined best. The fit is the family's (Huber's loss on log L, many starts),
with intervals over resampled runs; the paper gives none.

The best split of a budget B = N_e + N_d minimises the law: N_e / B = p_e / (p_e + p_d), whatever B
is. Any fixed share s of the encoder keeps the exponent p_e + p_d and pays a factor in the reducible
loss, ``(s* / s)^p_e ((1 - s*) / (1 - s))^p_d``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, xlogy

from paperworks.scaling.fitting import (
    LAWS,
    Comparison,
    Estimate,
    Law,
    LawFit,
    LawPrediction,
    compare_laws,
    fit_law,
)
from paperworks.scaling.fitting.result import expanded_tail
from paperworks.scaling.nmt.split import LayerChoice, Split, best_layers

FloatArray = NDArray[np.float64]

_FIELDS = ("alpha", "p_e", "p_d", "L_inf", "N_e_bar", "N_d_bar")


# The fitting core's names of the law's constants and sizes, in the paper's spelling.
_NAMES = {"E": "L_inf", "A": "alpha", "pe": "p_e", "pd": "p_d", "Ne": "N_e", "Nd": "N_d"}
_CORE_NAME = re.compile(r"\b(E|A|pe|pd|Ne|Nd)\b")


def _our_name(found: re.Match[str]) -> str:
    return _NAMES[found.group()]


def _total(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    return LAWS["power-offset"].evaluate(theta, logsumexp(logx, axis=1, keepdims=True))


def _total_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    return LAWS["power-offset"].start(logsumexp(logx, axis=1, keepdims=True), y)


TOTAL = Law(
    "total-parameters",
    "y = E + A (Ne + Nd)^-alpha",
    ("Ne", "Nd"),
    LAWS["power-offset"].parameters,
    _total,
    _total_start,
)
"""The rival: a power law with offset in the total of both sizes."""


@dataclass(frozen=True)
class EncoderDecoderLaw:
    """Loss of an encoder-decoder model as a law in the sizes of both halves.

    ``L(N_e, N_d) = alpha (N_e_bar / N_e)^p_e (N_d_bar / N_d)^p_d + L_inf``. Make one from constants
    (a paper's, say), or from runs with :meth:`fit`.

    Parameters
    ----------
    alpha : float
        Reducible loss of the model with the reference sizes, > 0, in the loss's unit.
    p_e, p_d : float
        Exponents of the encoder and of the decoder, >= 0.
    L_inf : float
        Loss that no size removes, >= 0.
    N_e_bar, N_d_bar : float
        Reference sizes, > 0, in the unit of the sizes.
    source : LawFit, optional
        The fit behind the constants, which :meth:`fit` fills in. Intervals come from it.

    Raises
    ------
    ValueError
        Where a constant is outside its range.

    Notes
    -----
    It takes models of one family on one task, trained to the end on data enough: size is all that
    varies. With little data use a law in size and data (``chinchilla`` of
    :func:`paperworks.scaling.fitting.fit_law`); for one stack of layers, ``power-offset``.

    Source: Ghorbani et al., arXiv 2109.07740.

    Examples
    --------
    >>> law = EncoderDecoderLaw(alpha=0.5, p_e=0.1, p_d=0.3, L_inf=1.2, N_e_bar=1e8, N_d_bar=2e8)
    >>> float(law(1e8, 2e8))
    1.7
    >>> split = law.optimal_split(4e8)
    >>> round(split.share, 6), round(split.encoder), round(split.decoder)
    (0.25, 100000000, 300000000)
    """

    alpha: float
    p_e: float
    p_d: float
    L_inf: float
    N_e_bar: float
    N_d_bar: float
    source: LawFit | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
            if name in ("alpha", "N_e_bar", "N_d_bar") and not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
            if value < 0:
                raise ValueError(
                    f"{name} must be >= 0, got {value}; the law describes a loss that falls with "
                    "size"
                )

    @classmethod
    def fit(
        cls,
        N_e: ArrayLike,
        N_d: ArrayLike,
        loss: ArrayLike,
        *,
        N_e_bar: float | None = None,
        N_d_bar: float | None = None,
        groups: ArrayLike | None = None,
        **settings: Any,
    ) -> EncoderDecoderLaw:
        """Fit the law to runs.

        Parameters
        ----------
        N_e, N_d : (n,) float
            Parameters of the encoder and of the decoder, without embeddings and softmax, > 0.
        loss : (n,) float
            Test cross-entropy of each run, > 0, in any unit (nats per token, as a rule).
        N_e_bar, N_d_bar : float, optional
            Reference sizes; by default the geometric means of the runs'. The law's curve does not
            depend on them.
        groups : (n,) array, optional
            The run of each row, where a run has several.
        **settings
            ``confidence``, ``resamples``, ``rng``, ``delta`` and ``space`` of
            :func:`paperworks.scaling.fitting.fit_law`.

        Returns
        -------
        EncoderDecoderLaw
            Look at ``converged`` and ``warnings`` before you use it.

        Raises
        ------
        ValueError
            Where values are not positive or not finite, shapes do not go together, or there are
            fewer than five runs.

        Examples
        --------
        >>> N_e, N_d = (each.ravel() for each in np.meshgrid(np.geomspace(1e7, 1e9, 5),
        ...                                                  np.geomspace(2e7, 2e9, 5)))
        >>> loss = EncoderDecoderLaw(0.4, 0.2, 0.3, 1.1, 1e8, 1e8)(N_e, N_d)
        >>> law = EncoderDecoderLaw.fit(N_e, N_d, loss, N_e_bar=1e8, N_d_bar=1e8, resamples=50)
        >>> round(law.alpha, 4), round(law.p_e, 4), round(law.p_d, 4), round(law.L_inf, 4)
        (0.4, 0.2, 0.3, 1.1)
        """
        found = fit_law("encoder-decoder", {"Ne": N_e, "Nd": N_d}, loss, groups=groups, **settings)
        center = np.exp(found.logx.mean(0)).tolist()
        for name, bar in (("N_e_bar", N_e_bar), ("N_d_bar", N_d_bar)):
            if bar is not None and not (bar > 0 and math.isfinite(bar)):
                raise ValueError(f"{name} must be finite and > 0, got {bar}")
        bars = (N_e_bar or center[0], N_d_bar or center[1])
        alpha, p_e, p_d, L_inf = _constants(found.theta[None], bars)[:, 0].tolist()
        return cls(alpha, p_e, p_d, L_inf, float(bars[0]), float(bars[1]), source=found)

    @property
    def converged(self) -> bool:
        """Whether the fit met its tolerance; True for a law from constants."""
        return self.source is None or self.source.converged

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the runs cannot say, in sentences; empty for a law from constants."""
        if self.source is None:
            return ()
        return tuple(_CORE_NAME.sub(_our_name, each) for each in self.source.warnings)

    @property
    def intervals(self) -> dict[str, Estimate]:
        """``alpha``, ``p_e``, ``p_d`` and ``L_inf``, each with its interval over resampled runs."""
        fit = self._fitted("intervals")
        rows = _constants(fit.draws, (self.N_e_bar, self.N_d_bar))
        return {
            name: Estimate(getattr(self, name), *_around(fit, draws, getattr(self, name)))
            for name, draws in zip(_FIELDS[:4], rows, strict=True)
        }

    def __call__(self, N_e: ArrayLike, N_d: ArrayLike) -> FloatArray:
        """Loss at these sizes, in their broadcast shape."""
        x, y = (_positive(name, each) for name, each in (("N_e", N_e), ("N_d", N_d)))
        return np.asarray(
            self.L_inf
            + self.alpha * (self.N_e_bar / x) ** self.p_e * (self.N_d_bar / y) ** self.p_d
        )

    def predict(
        self,
        N_e: ArrayLike,
        N_d: ArrayLike,
        *,
        confidence: float | None = None,
        new_run: bool = False,
    ) -> LawPrediction:
        """Loss at these sizes with an interval: of the curve, or of one more run.

        The interval holds the luck of the runs, not that the law may be wrong beyond them.
        """
        fit = self._fitted("predict with an interval")
        return fit.predict({"Ne": N_e, "Nd": N_d}, confidence=confidence, new_run=new_run)

    def referred_to(self, N_e_bar: float, N_d_bar: float) -> EncoderDecoderLaw:
        """The same law with other reference sizes: only ``alpha`` changes.

        Examples
        --------
        >>> law = EncoderDecoderLaw(0.5, 0.1, 0.3, 1.2, 1e8, 2e8)
        >>> other = law.referred_to(1e9, 1e9)
        >>> round(other.alpha, 4), bool(np.isclose(other(3e8, 3e8), law(3e8, 3e8)))
        (0.2451, True)
        """
        alpha = float(self(N_e_bar, N_d_bar)) - self.L_inf
        return EncoderDecoderLaw(
            alpha, self.p_e, self.p_d, self.L_inf, N_e_bar, N_d_bar, source=self.source
        )

    def optimal_split(self, budget: float) -> Split:
        """How to divide ``budget`` parameters between encoder and decoder.

        Parameters
        ----------
        budget : float
            Parameters of both together, without embeddings and softmax, > 0.

        Returns
        -------
        Split
            ``share = p_e / (p_e + p_d)`` of the encoder, both sizes, the loss, and intervals where
            the law was fitted.

        Raises
        ------
        ValueError
            Where ``budget`` is not positive, or both exponents are 0, so that no split is better.
        """
        size = float(_positive("budget", budget))
        share = self._best_share()
        loss = self.L_inf + float(self.reducible(size, share))
        share_ends = loss_ends = None
        if self.source is not None:
            bars = (self.N_e_bar, self.N_d_bar)
            alpha, p_e, p_d, L_inf = _constants(self.source.draws, bars)
            both = p_e + p_d
            shares = np.divide(p_e, both, out=np.full_like(p_e, np.nan), where=both > 0)
            told = np.isfinite(shares)
            share_ends = _around(self.source, shares[told], share)
            # Each resample's loss at the split that is built, not at a split of its own.
            losses = L_inf + alpha * _reducible(size, share, p_e, p_d, *bars)
            loss_ends = _around(self.source, losses, loss)
        return Split(size, share, size * share, size * (1 - share), loss, share_ends, loss_ends)

    def reducible(self, budget: ArrayLike, share: ArrayLike) -> FloatArray:
        """``L - L_inf`` at a budget of which the encoder has this share, broadcast.

        At the ends of the share, 0 and 1, it is infinite unless the exponent there is 0.
        """
        size, part = _positive("budget", budget), np.asarray(share, dtype=np.float64)
        if not ((part >= 0) & (part <= 1)).all():
            raise ValueError(f"share must be between 0 and 1, got {share!r}")
        return np.asarray(
            self.alpha * _reducible(size, part, self.p_e, self.p_d, self.N_e_bar, self.N_d_bar)
        )

    def penalty(self, share: ArrayLike) -> FloatArray:
        """How many times the reducible loss is that of the best split, the same at every budget.

        Examples
        --------
        >>> law = EncoderDecoderLaw(0.5, 0.1, 0.3, 1.2, 1e8, 2e8)
        >>> law.penalty([0.25, 0.5, 0.9]).round(3).tolist()
        [1.0, 1.054, 1.61]
        """
        return np.asarray(self.reducible(1.0, share) / self.reducible(1.0, self._best_share()))

    def budget_for(self, loss: float, *, share: float | None = None) -> float:
        """Parameters that a loss takes, at the best split or at a fixed share of the encoder.

        Returns
        -------
        float
            ``inf`` where no size gets there: at ``L_inf`` and below.

        Examples
        --------
        >>> law = EncoderDecoderLaw(0.5, 0.1, 0.3, 1.2, 1e8, 2e8)
        >>> float(law(*[law.budget_for(1.6) * s for s in (0.25, 0.75)])).__round__(6)
        1.6
        """
        if not math.isfinite(loss):
            raise ValueError(f"loss must be finite, got {loss}")
        if loss <= self.L_inf:
            return math.inf
        part = self._best_share() if share is None else share
        base = float(self.reducible(1.0, part))
        if self.p_e + self.p_d == 0:
            raise ValueError("p_e and p_d are both 0: the loss does not depend on size")
        return float(math.exp(math.log(base / (loss - self.L_inf)) / (self.p_e + self.p_d)))

    def best_layers(self, budget: float, encoder_layer: float, decoder_layer: float) -> LayerChoice:
        """Whole numbers of layers within a budget that give the least loss.

        Parameters
        ----------
        budget : float
            Parameters of all layers together.
        encoder_layer, decoder_layer : float
            Parameters of one layer of each; one of the decoder is larger, for it also reads the
            encoder.

        Raises
        ------
        ValueError
            Where the budget does not pay for one layer of each.
        """
        return best_layers(self, budget, encoder_layer, decoder_layer)

    def _best_share(self) -> float:
        both = self.p_e + self.p_d
        if both == 0:
            raise ValueError(
                "p_e and p_d are both 0: the loss does not depend on size, and no split is better"
            )
        return self.p_e / both

    def _fitted(self, what: str) -> LawFit:
        if self.source is None:
            raise ValueError(
                f"{what}: this law was made from constants and knows no runs; use "
                "EncoderDecoderLaw.fit, or call the law for values alone"
            )
        return self.source


def compare_with_total(
    N_e: ArrayLike,
    N_d: ArrayLike,
    loss: ArrayLike,
    *,
    fraction: float = 0.25,
    groups: ArrayLike | None = None,
    **settings: Any,
) -> Comparison:
    """Which predicts the largest runs better, the bivariate law or one in total parameters.

    Both are fitted to the smaller runs with the same care; runs are ranked by their total. The
    rival is ``E + A (N_e + N_d)^-alpha``.

    Parameters
    ----------
    N_e, N_d, loss, groups
        As for :meth:`EncoderDecoderLaw.fit`.
    fraction : float
        Share of the runs that is held out.
    **settings
        As for :func:`paperworks.scaling.fitting.compare_laws`.

    Returns
    -------
    Comparison
        ``ranked`` has ``"encoder-decoder"`` and ``"total-parameters"``, the better one first, each
        with its error ``rms`` on the held-out runs.

    Examples
    --------
    >>> N_e, N_d = (each.ravel() for each in np.meshgrid(np.geomspace(1e7, 1e9, 5),
    ...                                                  np.geomspace(2e7, 2e9, 5)))
    >>> loss = EncoderDecoderLaw(0.4, 0.05, 0.3, 1.1, 1e8, 1e8)(N_e, N_d)
    >>> list(compare_with_total(N_e, N_d, loss, resamples=20).ranked)
    ['encoder-decoder', 'total-parameters']
    """
    sizes = {"Ne": _positive("N_e", N_e), "Nd": _positive("N_d", N_d)}
    sizes["total"] = sizes["Ne"] + sizes["Nd"]
    return compare_laws(
        ["encoder-decoder", TOTAL],
        sizes,
        loss,
        fraction=fraction,
        by="total",
        groups=groups,
        **settings,
    )


def _constants(theta: FloatArray, bars: tuple[float, float]) -> FloatArray:
    """alpha, p_e, p_d and L_inf (4, B) of the core's log E, log A, pe and pd (B, 4)."""
    log_e, log_a, p_e, p_d = theta.T
    alpha = np.exp(log_a - p_e * math.log(bars[0]) - p_d * math.log(bars[1]))
    return np.stack([alpha, p_e, p_d, np.exp(log_e)])


def _reducible(
    budget: ArrayLike, share: ArrayLike, p_e: ArrayLike, p_d: ArrayLike, e_bar: float, d_bar: float
) -> FloatArray:
    """(N_e_bar / N_e)^p_e (N_d_bar / N_d)^p_d with N_e = share budget, and 0^0 = 1."""
    part, size = np.asarray(share), np.asarray(budget)
    log = (
        np.multiply(p_e, np.log(e_bar / size))
        + np.multiply(p_d, np.log(d_bar / size))
        - xlogy(p_e, part)
        - xlogy(p_d, 1 - part)
    )
    return np.asarray(np.exp(log))


def _around(fit: LawFit, draws: FloatArray, value: float) -> tuple[float, float]:
    """The interval of a number that the draws give, around its value."""
    tail = expanded_tail(fit.confidence, fit.runs, len(fit.theta))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return min(float(low), value), max(float(high), value)


def _positive(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    bad = array[~(np.isfinite(array) & (array > 0))]
    if bad.size:
        raise ValueError(f"{name} must be finite and > 0, got {bad.flat[0]}")
    return array
