"""The laws that are on board, with analytic derivatives.

power, power-offset
    ``y = A x^-alpha`` and with what is left for ever, ``E``. Hestness et al., arXiv 1712.00409;
    M1 and M2 in Alabdulmohsin et al., arXiv 2209.06640.
m4
    ``(y - E) / (Y - y)^a = A x^-alpha``, solved for y: a power law with offset that bends into
    chance level ``Y`` where data are few. M4 of Alabdulmohsin et al.
broken
    ``y = E + A x^-alpha (1 + (x / d)^(1/s))^(-beta s)``: one smooth break at d. Caballero et al.,
    arXiv 2210.14891, equation 1 with n = 1.
exponentiated
    ``y = exp(-A x^-alpha)``, for a share that rises to 1. Brown et al., arXiv 2407.21787.
chinchilla
    ``y = E + A N^-alpha + B D^-beta``. Hoffmann et al., arXiv 2203.15556, equation 2.
kaplan
    ``y = (A N^-(alpha/beta) + B / D)^beta``. Kaplan et al., arXiv 2001.08361, equation 1.5, with
    ``A = Nc^(alpha/beta)`` and ``B = Dc``.
encoder-decoder
    ``y = E + A Ne^-pe Nd^-pd``. Ghorbani et al., arXiv 2109.07740.

Every start is made from the data. Where the exponents are given, most laws are linear in the rest,
so a grid of exponents with non-negative least squares (of relative errors) gives good ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit

from paperworks.scaling.fitting.law import FloatArray, Law, Parameter

_EXPONENTS = (0.02, 0.06, 0.12, 0.22, 0.37, 0.6, 1.0, 1.8)
_SAMPLED = 400  # rows that starts look at: they need the shape, not the last digit
_TINY = 1e-3  # of the smallest y: what a term that least squares drops starts from


def _terms_start(
    terms: Callable[[tuple[float, ...], FloatArray], list[FloatArray]],
    settings: Iterable[tuple[float, ...]],
    order: Callable[[FloatArray, tuple[float, ...]], list[float]],
) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Starts for laws that are sums of terms with non-negative amplitudes.

    ``terms(setting, logx)`` are the logarithms of the terms without amplitudes, and
    ``order(log_amplitudes, setting)`` puts them into theta's order.
    """
    settings = tuple(settings)

    def start(logx: FloatArray, y: FloatArray) -> FloatArray:
        if len(y) > _SAMPLED:
            some = np.linspace(0, len(y) - 1, _SAMPLED).astype(int)
            some = np.argsort(logx[:, 0], kind="stable")[some]
            logx, y = logx[some], y[some]
        found = []
        for setting in settings:
            columns = np.stack([np.broadcast_to(t, y.shape) for t in terms(setting, logx)], 1)
            peak = columns.max(0)
            design = np.exp(columns - peak) / y[:, None]
            amplitudes, _ = nnls(design, np.ones_like(y))
            floor = _TINY * y.min()
            found.append(order(np.log(np.maximum(amplitudes, floor)) - peak, setting))
        return np.array(found)

    return start


def _log_sum(terms: list[FloatArray]) -> tuple[FloatArray, list[FloatArray]]:
    """Log of the sum of exp(terms), and each term's share of the sum."""
    top = terms[0]
    for term in terms[1:]:
        top = np.maximum(top, term)
    shares = [np.exp(term - top) for term in terms]
    total = shares[0] + sum(shares[1:])
    for share in shares:
        share /= total
    return top + np.log(total), shares


def _power(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    x = logx[:, 0]
    log_y = theta[:, :1] - theta[:, 1:2] * x
    jacobian = np.empty((*log_y.shape, 2))
    jacobian[..., 0] = 1.0
    jacobian[..., 1] = -x
    return log_y, jacobian


def _power_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    x, log_y = logx[:, 0], np.log(y)
    spread = x - x.mean()
    alpha = -(spread @ log_y) / max(spread @ spread, np.finfo(float).tiny)
    slopes = np.array([alpha, 0.5 * alpha, 2 * alpha, *_EXPONENTS])
    return np.stack([np.median(log_y + slopes[:, None] * x, 1), slopes], 1)


def _sum_of_powers(*used: tuple[int, ...]) -> Callable[..., tuple[FloatArray, FloatArray]]:
    """E + a term for each tuple in ``used``, a product of powers of those columns.

    theta is log E, then for each term its log amplitude and its exponents.
    """

    def evaluate(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = 1
        terms = [np.broadcast_to(theta[:, :1], (len(theta), len(logx)))]
        for columns in used:
            term = theta[:, at : at + 1] - theta[:, at + 1 : at + 1 + len(columns)] @ (
                logx[:, list(columns)].T
            )
            terms.append(term)
            at += 1 + len(columns)
        log_y, shares = _log_sum(terms)
        jacobian = np.empty((*log_y.shape, theta.shape[1]))
        jacobian[..., 0] = shares[0]
        at = 1
        for columns, share in zip(used, shares[1:], strict=True):
            jacobian[..., at] = share
            for offset, column in enumerate(columns, start=1):
                jacobian[..., at + offset] = -share * logx[:, column]
            at += 1 + len(columns)
        return log_y, jacobian

    return evaluate


def _sum_of_powers_start(
    *used: tuple[int, ...], exponents: tuple[float, ...] = _EXPONENTS
) -> Callable[[FloatArray, FloatArray], FloatArray]:
    count = sum(map(len, used))

    def split(setting: tuple[float, ...]) -> list[tuple[float, ...]]:
        rest = iter(setting)
        return [tuple(itertools.islice(rest, len(columns))) for columns in used]

    def terms(setting: tuple[float, ...], logx: FloatArray) -> list[FloatArray]:
        powers = [
            -logx[:, list(columns)] @ np.array(each)
            for columns, each in zip(used, split(setting), strict=True)
        ]
        return [np.zeros(len(logx)), *powers]

    def order(log_amplitudes: FloatArray, setting: tuple[float, ...]) -> list[float]:
        theta = [log_amplitudes[0]]
        for amplitude, each in zip(log_amplitudes[1:], split(setting), strict=True):
            theta += [amplitude, *each]
        return theta

    return _terms_start(terms, itertools.product(exponents, repeat=count), order)


def _broken(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    """theta: log E, log A, alpha, beta, log d, log s."""
    x = logx[:, 0]
    e, a, alpha, beta, d, s = (theta[:, i : i + 1] for i in range(6))
    width = np.exp(s)
    z = (x - d) / width
    soft = np.logaddexp(0.0, z)  # log(1 + (x / d)^(1/s))
    after = expit(z)
    log_y, (_, share) = _log_sum([np.broadcast_to(e, z.shape), a - alpha * x - beta * width * soft])
    jacobian = np.empty((*z.shape, 6))
    jacobian[..., 0] = 1 - share
    jacobian[..., 1] = share
    jacobian[..., 2] = -share * x
    jacobian[..., 3] = -share * width * soft
    jacobian[..., 4] = share * beta * after
    jacobian[..., 5] = -share * beta * width * (soft - z * after)
    return log_y, jacobian


def _broken_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    x = logx[:, 0]
    breaks = np.quantile(x, [0.15, 0.35, 0.5, 0.65, 0.85])
    few = (0.03, 0.12, 0.37, 1.0)

    def terms(setting: tuple[float, ...], logx: FloatArray) -> list[FloatArray]:
        alpha, beta, d, s = setting
        x = logx[:, 0]
        bend = beta * s * np.logaddexp(0.0, (x - d) / s)
        return [np.zeros(len(x)), -alpha * x - bend]

    def order(log_amplitudes: FloatArray, setting: tuple[float, ...]) -> list[float]:
        alpha, beta, d, s = setting
        return [*log_amplitudes, alpha, beta, d, np.log(s)]

    # One slope before the break and another after it; the second may be flatter or steeper.
    slopes = [(first, second - first) for first in (0.0, *few) for second in (0.0, *few)]
    settings = [
        (alpha, beta, d, s)
        for alpha, beta in slopes
        if beta != 0
        for d in breaks
        for s in (0.3, 1.0)
    ]
    return _terms_start(terms, settings, order)(logx, y)


def _m4(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    """theta: log E, log(Y - E), log a, log A, alpha.

    With y = E + (Y - E) expit(u) the law reads ``(1 - a) log(Y - E) + log expit(u) - a log
    expit(-u) = log A - alpha log x``. Its left side rises in u with a slope between min(1, a) and
    max(1, a), so Newton's steps from a line's crossing cannot stray; derivatives are implicit.
    """
    x = logx[:, 0]
    e, gap, log_a, amplitude, alpha = (theta[:, i : i + 1] for i in range(5))
    a = np.exp(log_a)
    goal = amplitude - alpha * x - (1 - a) * gap
    u = np.where(goal < 0, goal, goal / a)
    for _ in range(60):
        value = -np.logaddexp(0.0, -u) + a * np.logaddexp(0.0, u)
        slope = expit(-u) + a * expit(u)
        step = (value - goal) / slope
        u = u - step
        if np.abs(step).max(initial=0.0) < 1e-13 * (1 + np.abs(u).max(initial=0.0)):
            break
    slope = expit(-u) + a * expit(u)
    above = gap - np.logaddexp(0.0, -u)  # log(y - E)
    log_y = np.logaddexp(e, above)
    share = np.exp(above - log_y)
    by_u = share * expit(-u)  # d log y / du
    jacobian = np.empty((*log_y.shape, 5))
    jacobian[..., 0] = np.exp(e - log_y)
    jacobian[..., 1] = share - by_u * (1 - a) / slope
    jacobian[..., 2] = by_u * a * (gap - np.logaddexp(0.0, u)) / slope
    jacobian[..., 3] = by_u / slope
    jacobian[..., 4] = -by_u * x / slope
    return log_y, jacobian


def _m4_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    """For given E, Y and a the law is a line in log x."""
    x, top, bottom = logx[:, 0], y.max(), y.min()
    found = []
    for below in (1e-6, 0.5, 0.9, 0.98):
        for over in (1.02, 1.3, 4.0):
            for a in (0.3, 1.0, 2.0):
                e, chance = below * bottom, over * top
                line = np.log(y - e) - a * np.log(chance - y)
                slope, height = np.polyfit(x, line, 1) if np.ptp(x) > 0 else (0.0, line.mean())
                found.append([np.log(e), np.log(chance - e), np.log(a), height, -slope])
    return np.array(found)


def _exponentiated(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    x = logx[:, 0]
    log_y = -np.exp(np.minimum(theta[:, :1] - theta[:, 1:2] * x, 700.0))
    jacobian = np.empty((*log_y.shape, 2))
    jacobian[..., 0] = log_y
    jacobian[..., 1] = -log_y * x
    return log_y, jacobian


def _exponentiated_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    x = logx[:, 0]
    inside = (y > 0) & (y < 1)
    if np.unique(x[inside]).size < 2:
        raise ValueError(
            "the law y = exp(-A x^-alpha) needs y strictly between 0 and 1 at two different x"
        )
    line = np.log(-np.log(y[inside]))
    slope, height = np.polyfit(x[inside], line, 1, w=-y[inside] * np.log(y[inside]))
    return np.array([[height, -slope], [height, -2 * slope], [height, -slope / 2]])


def _kaplan(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    """theta: log A, alpha, log B, beta."""
    n, d = logx[:, 0], logx[:, 1]
    a, alpha, b, beta = (theta[:, i : i + 1] for i in range(4))
    ratio = alpha / beta
    inner, (of_n, of_d) = _log_sum([a - ratio * n, b - d])
    jacobian = np.empty((*inner.shape, 4))
    jacobian[..., 0] = beta * of_n
    jacobian[..., 1] = -of_n * n
    jacobian[..., 2] = beta * of_d
    jacobian[..., 3] = inner + of_n * ratio * n
    return beta * inner, jacobian


def _kaplan_start(logx: FloatArray, y: FloatArray) -> FloatArray:
    found = []
    for alpha, beta in itertools.product((0.03, 0.08, 0.2, 0.4), repeat=2):

        def terms(setting: tuple[float, ...], logx: FloatArray) -> list[FloatArray]:
            alpha, beta = setting
            return [-(alpha / beta) * logx[:, 0], -logx[:, 1]]

        def order(log_amplitudes: FloatArray, setting: tuple[float, ...]) -> list[float]:
            alpha, beta = setting
            return [log_amplitudes[0], alpha, log_amplitudes[1], beta]

        start = _terms_start(terms, [(alpha, beta)], order)
        found.append(start(logx, y ** (1 / beta)))
    return np.concatenate(found)


_E = Parameter("E", low=1e-12, open_below=True)
_A, _B = Parameter("A"), Parameter("B")


def _exponent(name: str, low: float = 0.0) -> Parameter:
    return Parameter(name, "linear", low, 20.0, open_below=low == 0.0)


LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Law(
            "power", "y = A x^-alpha", ("x",), (_A, _exponent("alpha", -20.0)), _power, _power_start
        ),
        Law(
            "power-offset",
            "y = E + A x^-alpha",
            ("x",),
            (_E, _A, _exponent("alpha")),
            _sum_of_powers((0,)),
            _sum_of_powers_start((0,), exponents=tuple(np.geomspace(0.01, 4.0, 24).tolist())),
        ),
        Law(
            "m4",
            "(y - E) / (E + G - y)^a = A x^-alpha",
            ("x",),
            (
                _E,
                Parameter("G", low=1e-12),
                Parameter("a", low=1e-3, high=1e3),
                _A,
                _exponent("alpha"),
            ),
            _m4,
            _m4_start,
        ),
        Law(
            "broken",
            "y = E + A x^-alpha (1 + (x/d)^(1/s))^(-beta s)",
            ("x",),
            (
                _E,
                _A,
                _exponent("alpha", -20.0),
                _exponent("beta", -20.0),
                Parameter("d"),
                Parameter("s", low=1e-2, high=1e2),
            ),
            _broken,
            _broken_start,
        ),
        Law(
            "exponentiated",
            "y = exp(-A x^-alpha)",
            ("x",),
            (_A, _exponent("alpha", -20.0)),
            _exponentiated,
            _exponentiated_start,
        ),
        Law(
            "chinchilla",
            "y = E + A N^-alpha + B D^-beta",
            ("N", "D"),
            (_E, _A, _exponent("alpha"), _B, _exponent("beta")),
            _sum_of_powers((0,), (1,)),
            _sum_of_powers_start((0,), (1,)),
        ),
        Law(
            "kaplan",
            "y = (A N^-(alpha/beta) + B D^-1)^beta",
            ("N", "D"),
            (_A, _exponent("alpha", 1e-6), _B, _exponent("beta", 1e-6)),
            _kaplan,
            _kaplan_start,
        ),
        Law(
            "encoder-decoder",
            "y = E + A Ne^-pe Nd^-pd",
            ("Ne", "Nd"),
            (_E, _A, _exponent("pe"), _exponent("pd")),
            _sum_of_powers((0, 1)),
            _sum_of_powers_start((0, 1)),
        ),
    )
}


def law_named(law: Law | str) -> Law:
    """A law by its name; a law is returned as it is.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        raise ValueError(f"no law is called {law!r}; there are {', '.join(LAWS)}")
    return LAWS[law]
