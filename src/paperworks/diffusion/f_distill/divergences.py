"""The f-divergences of f-distill: each convex f, and the weight ``h(r) = r**2 f''(r)`` that it puts
on the difference of two scores.

``D_f(p || q) = E_q f(p / q)`` with ``f`` convex and ``f(1) = 0``; here p is the teacher's
distribution, q the student's and ``r = p / q``. Xu, Nie and Vahdat 2025, arXiv:2502.15681, table 1,
of which f and h of the first six below are; the softened forward KL is the mirror image of the
softened reverse KL (Shannon et al. 2020, arXiv:2009.00757), and the alpha-family is that of
Cichocki and Amari 2010, with reverse KL at 0, four times squared Hellinger at 1/2 and forward KL
at 1.

=====================  ==============================  =====================  ==============
name                   f(r)                            f''(r)                 h(r)
=====================  ==============================  =====================  ==============
reverse-kl             -log r                          1 / r^2                1
softened-reverse-kl    (r + 1) log((r + 1) / (2 r))    1 / (r^2 (r + 1))      1 / (r + 1)
js                     r log r                         1 / (r (r + 1))        r / (r + 1)
                       - (r + 1) log((r + 1) / 2)
squared-hellinger      1 - sqrt(r)                     1 / (4 r^(3/2))        sqrt(r) / 4
forward-kl             r log r                         1 / r                  r
jeffreys               (r - 1) log r                   1 / r + 1 / r^2        r + 1
softened-forward-kl    (r + 1) log((r + 1) / 2)        1 / (r + 1)            r^2 / (r + 1)
alpha                  (r^a - 1 - a (r - 1))           r^(a - 2)              r^a
                       / (a (a - 1))
=====================  ==============================  =====================  ==============

The less mode-seeking a divergence is, the faster h grows: samples that the teacher finds likely and
the student rare weigh more. All weights are computed as log h of log r, so that none overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Function = Callable[[Tensor], Tensor]
FURTHEST = 100.0
"""The largest abs(log r) at which the second derivative of a user's own f is taken."""
_SURE = 8.0  # an abs(log r) up to which cancelling terms leave float64 most of its digits
_ROUGH = 1e-3  # what log h may bend by in three steps of 1e-3 of log r: more is rounding


@dataclass(frozen=True)
class Divergence:
    """One row of the table.

    Parameters
    ----------
    name : str
    f : callable
        The convex function, of a tensor of ratios, elementwise.
    log_weight : callable
        ``log h`` as a function of ``log r``, elementwise.
    formulas : (str, str, str), optional
        ``f``, ``f''`` and ``h`` in ``r``, as SymPy reads them.

    Examples
    --------
    >>> js = DIVERGENCES["js"]
    >>> js.weight(torch.tensor([-1e4, 0.0, 1e4]))
    tensor([0.0000, 0.5000, 1.0000])
    >>> js.formulas[2]
    'r / (r + 1)'
    """

    name: str
    f: Function
    log_weight: Function
    formulas: tuple[str, str, str] | None = None

    def weight(self, log_ratio: Tensor) -> Tensor:
        """``h(r)`` at ``log r``; infinite only where h itself is beyond the dtype."""
        return self.log_weight(log_ratio).exp()

    def second(self, ratio: Tensor) -> Tensor:
        """``f''(r) = h(r) / r**2``."""
        log_ratio = ratio.log()
        return (self.log_weight(log_ratio) - 2 * log_ratio).exp()


def alpha_divergence(alpha: float) -> Divergence:
    """The divergence with ``h(r) = r**alpha``.

    Parameters
    ----------
    alpha : float
        0 is reverse KL, 1/2 four times squared Hellinger, 1 forward KL, 2 half of Pearson's
        chi-squared, -1 half of Neyman's. The larger, the less mode-seeking, and the larger the
        variance of the weights.

    Raises
    ------
    ValueError
        If it is not finite.

    Examples
    --------
    >>> alpha_divergence(0.5).weight(torch.tensor([4.0]).log())
    tensor([2.])
    """
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be finite, got {alpha}")
    # At 0 and 1 the limits; a multiple of r - 1 in f changes no divergence.
    if alpha == 0:
        f, formula = (lambda r: r - 1 - r.log()), "r - 1 - log(r)"
    elif alpha == 1:
        f, formula = (lambda r: torch.xlogy(r, r) - r + 1), "r * log(r) - r + 1"
    else:

        def f(r: Tensor) -> Tensor:
            return (r**alpha - 1 - alpha * (r - 1)) / (alpha * (alpha - 1))

        a = f"({alpha!r})"
        formula = f"(r**{a} - 1 - {a} * (r - 1)) / ({a} * ({a} - 1))"
    return Divergence(
        f"alpha({alpha:g})",
        f,
        lambda log_ratio: alpha * log_ratio,
        (formula, f"r**({alpha!r} - 2)", f"r**({alpha!r})"),
    )


def divergence_of(f: Function, name: str = "custom") -> Divergence:
    """The divergence of one's own f, whose second derivative is taken by autograd.

    Parameters
    ----------
    f : callable
        Of a float64 tensor of positive ratios, elementwise, in operations of torch; twice
        differentiable and strictly convex. ``f(1) = 0`` makes it a divergence, though h does not
        depend on it, nor on a multiple of ``r - 1``.
    name : str
        For errors and checkpoints.

    Raises
    ------
    ValueError
        On the first use where f'' is not above 0, or is rounding alone; the ratio is named.

    Notes
    -----
    Ratios beyond ``exp(-100)`` and ``exp(100)`` count as these. Not every f can be differentiated
    so far out: of ``r log r - (r + 1) log((r + 1) / 2)`` nearly equal terms are subtracted, and
    beyond ``exp(30)`` or so nothing of f'' is left in float64. That raises, too. Ratios that are
    clipped, as :class:`~paperworks.diffusion.f_distill.Weighting` does by default, do not come
    there; or make a :class:`Divergence` with log h itself.

    Examples
    --------
    >>> pearson = divergence_of(lambda r: (r - 1) ** 2)
    >>> pearson.weight(torch.tensor([3.0]).log())
    tensor([18.])
    """

    def log_weight(log_ratio: Tensor) -> Tensor:
        near = log_ratio.detach().double().clamp(-FURTHEST, FURTHEST)
        found = _log_weight(f, near, name)
        far = near[near.abs() > _SURE]
        if far.numel():
            _check_smooth(f, far, name)
        return found.to(log_ratio)

    return Divergence(name, f, log_weight)


def _log_weight(f: Function, log_ratio: Tensor, name: str) -> Tensor:
    """``2 log r + log f''(r)`` by autograd."""
    with torch.enable_grad():
        ratio = log_ratio.exp().requires_grad_()
        value = f(ratio)
        if value.shape != ratio.shape:
            raise ValueError(
                f"f of {name!r} must be elementwise: of shape {tuple(ratio.shape)} it made "
                f"{tuple(value.shape)}"
            )
        (slope,) = torch.autograd.grad(value.sum(), ratio, create_graph=True)
        second = (
            torch.autograd.grad(slope.sum(), ratio)[0]
            if slope.requires_grad
            else torch.zeros_like(ratio)
        )
    bad = ~(second > 0)
    if bad.any():
        where = int(bad.flatten().nonzero()[0])
        at = log_ratio.flatten()[where]
        raise ValueError(
            f"f of {name!r} must be strictly convex, but its second derivative at "
            f"r = {at.exp():.4g} is {second.flatten()[where]:.4g}"
            + (", if not by f itself then by rounding; clip the ratio" if at.abs() > _SURE else "")
        )
    return 2 * log_ratio + second.log()


def _check_smooth(f: Function, log_ratio: Tensor, name: str) -> None:
    """Refuse ratios around which log h is no smooth function: there it is rounding, no weight.

    Rounding repeats itself at a few points by chance; at 65 it does not.
    """
    around = log_ratio[:, None] + 1e-3 * torch.arange(-32, 33).to(log_ratio)
    bent = _log_weight(f, around, name).diff(n=2).abs().amax(1)
    rough = bent > _ROUGH
    if rough.any():
        at = log_ratio[rough][0]
        raise ValueError(
            f"f of {name!r} has lost its digits at r = {at.exp():.4g}: its second derivative is "
            "rounding there; clip the ratio, or give a Divergence with log h"
        )


DIVERGENCES: dict[str, Divergence] = {
    each.name: each
    for each in (
        Divergence(
            "reverse-kl",
            lambda r: -r.log(),
            torch.zeros_like,
            ("-log(r)", "1 / r**2", "1"),
        ),
        Divergence(
            "softened-reverse-kl",
            lambda r: (r + 1) * ((r + 1) / (2 * r)).log(),
            lambda log_ratio: logsigmoid(-log_ratio),
            ("(r + 1) * log((r + 1) / (2 * r))", "1 / (r**2 * (r + 1))", "1 / (r + 1)"),
        ),
        Divergence(
            "js",
            lambda r: torch.xlogy(r, r) - (r + 1) * ((r + 1) / 2).log(),
            logsigmoid,
            ("r * log(r) - (r + 1) * log((r + 1) / 2)", "1 / (r * (r + 1))", "r / (r + 1)"),
        ),
        Divergence(
            "squared-hellinger",
            lambda r: 1 - r.sqrt(),
            lambda log_ratio: 0.5 * log_ratio - math.log(4),
            ("1 - sqrt(r)", "1 / (4 * sqrt(r)**3)", "sqrt(r) / 4"),
        ),
        Divergence(
            "forward-kl",
            lambda r: torch.xlogy(r, r),
            lambda log_ratio: log_ratio,
            ("r * log(r)", "1 / r", "r"),
        ),
        Divergence(
            "jeffreys",
            lambda r: (r - 1) * r.log(),
            lambda log_ratio: -logsigmoid(-log_ratio),
            ("(r - 1) * log(r)", "1 / r + 1 / r**2", "r + 1"),
        ),
        Divergence(
            "softened-forward-kl",
            lambda r: (r + 1) * ((r + 1) / 2).log(),
            lambda log_ratio: log_ratio + logsigmoid(log_ratio),
            ("(r + 1) * log((r + 1) / 2)", "1 / (r + 1)", "r**2 / (r + 1)"),
        ),
    )
}
"""By name; :func:`alpha_divergence` and :func:`divergence_of` make others."""


def divergence_named(choice: str | Divergence | Function) -> Divergence:
    """The divergence that a name, a :class:`Divergence` or one's own f stands for.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if isinstance(choice, Divergence):
        return choice
    if callable(choice):
        return divergence_of(choice)
    if choice not in DIVERGENCES:
        raise ValueError(
            f"divergence must be one of {', '.join(DIVERGENCES)}, alpha_divergence(alpha) or a "
            f"convex function; got {choice!r}"
        )
    return DIVERGENCES[choice]
