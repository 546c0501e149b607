"""The laws of training with their constants, and all that follows from them in closed form.

Kaplan et al., arXiv 2001.08361, equations 1.6, 5.4, 5.5 and 5.6; McCandlish et al., arXiv
1812.06162, equation 2.11; Su et al., arXiv 2403.06563, whose recipe this is:

    L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S
    B_crit(L) = B_star / L^(1 / alpha_B)
    S_min = S / (1 + B_crit(L) / B)          E_min = B S / (1 + B / B_crit(L))

The loss stands on both sides: L(N, S, B) is the root of a function of log L that grows and is
concave, so that Newton's method from below never overshoots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_STEPS = 100
_CLOSE = 1e-13


@dataclass(frozen=True)
class Interval:
    """A prediction: ``value`` with its interval ``low`` to ``high``, arrays of one shape."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class TrajectoryLaw:
    """``L(N, S, B)`` with given constants: the loss of a model at each step of its training.

    Parameters
    ----------
    N_c, alpha_N : float or array
        Of the size term, ``(N_c / N)^alpha_N``; N_c in parameters without embeddings.
    S_c, alpha_S : float or array
        Of the steps term, ``(S_c / S_min)^alpha_S``; S_c in optimizer steps.
    B_star, alpha_B : float or array
        Of the critical batch, ``B_star / L^(1 / alpha_B)``; B_star in tokens.

    Notes
    -----
    Constants may be arrays that broadcast against the arguments of the methods, as the draws of a
    bootstrap do. Losses are in nats per token, batches in tokens. Everything is float64.

    The law knows no least loss other than a model's own, and no overfitting: it is that of data
    which are not repeated, at a learning rate that does not fall.

    Examples
    --------
    >>> kaplan = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> round(float(kaplan.minimum_loss(1.5e9)), 3)
    2.275
    >>> loss = kaplan.loss(1.5e9, 100_000, 500_000)
    >>> round(float(loss), 3), round(float(kaplan.steps_to(loss, 1.5e9, 500_000)))
    (2.493, 100000)
    """

    N_c: Any
    alpha_N: Any
    S_c: Any
    alpha_S: Any
    B_star: Any
    alpha_B: Any

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _positive(name, value)

    def minimum_loss(self, N: ArrayLike) -> FloatArray:
        """What a model of N parameters ends at with unlimited steps: ``(N_c / N)^alpha_N``."""
        return np.asarray((self.N_c / _positive("N", N)) ** self.alpha_N)

    def minimum_loss_after(self, N: ArrayLike, S: ArrayLike) -> FloatArray:
        """The least loss that S steps can give, with a batch without end."""
        return self.minimum_loss(N) + (self.S_c / _positive("S", S)) ** self.alpha_S

    def loss(self, N: ArrayLike, S: ArrayLike, B: ArrayLike) -> FloatArray:
        """The loss after S steps with batches of B tokens, ``L(N, S, B)``."""
        N, S, B = _positive("N", N), _positive("S", S), _positive("B", B)
        constants = map(np.asarray, vars(self).values())
        N_c, alpha_N, S_c, alpha_S, B_star, alpha_B = constants
        u = solve_log_loss(
            alpha_N * (np.log(N_c) - np.log(N)),
            alpha_S,
            np.log(S_c) - np.log(S),
            np.log(B_star) - np.log(B),
            alpha_B,
        )
        return np.exp(u)

    def critical_batch(self, loss: ArrayLike) -> FloatArray:
        """The batch in tokens at which steps and tokens are each twice their least."""
        with np.errstate(over="ignore"):
            return np.asarray(self.B_star / _positive("loss", loss) ** (1 / self.alpha_B))

    def min_steps_to(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """S_min, the steps to a loss with a batch without end; inf where N never gets there."""
        over = _positive("loss", loss) - self.minimum_loss(N)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            steps = self.S_c / np.maximum(over, 0.0) ** (1 / self.alpha_S)
        return np.asarray(np.where(over > 0, steps, np.inf))

    def min_tokens_to(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """E_min, the tokens to a loss with the smallest of batches: ``S_min B_crit``."""
        return self.min_steps_to(loss, N) * self.critical_batch(loss)

    def steps_to(self, loss: ArrayLike, N: ArrayLike, B: ArrayLike) -> FloatArray:
        """Steps to a loss at a batch of B tokens: ``S_min (1 + B_crit / B)``."""
        ratio = self.critical_batch(loss) / _positive("B", B)
        return self.min_steps_to(loss, N) * (1 + ratio)

    def tokens_to(self, loss: ArrayLike, N: ArrayLike, B: ArrayLike) -> FloatArray:
        """Tokens to a loss at a batch of B tokens: ``B S = E_min (1 + B / B_crit)``."""
        return self.steps_to(loss, N, B) * np.asarray(B, dtype=np.float64)

    def best_batch(self, loss: ArrayLike, time_weight: ArrayLike = 0.5) -> FloatArray:
        """The batch that minimises ``S^w E^(1 - w)``, with w the weight of time.

        ``S = S_min (1 + 1 / x)`` and ``E = E_min (1 + x)`` for ``x = B / B_crit``, so that
        ``x = w / (1 - w)``: the critical batch where time and tokens weigh the same.
        """
        w = np.asarray(time_weight, dtype=np.float64)
        if not np.all((w > 0) & (w < 1)):
            raise ValueError(
                f"time_weight must be between 0 and 1, got {time_weight!r}; near 1 saves steps, "
                "near 0 saves tokens"
            )
        return self.critical_batch(loss) * w / (1 - w)

    def batch_for_steps(self, loss: ArrayLike, N: ArrayLike, S: ArrayLike) -> FloatArray:
        """The smallest batch that reaches a loss within S steps; inf where none does."""
        spare = _positive("S", S) / self.min_steps_to(loss, N) - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            batch = self.critical_batch(loss) / spare
        return np.asarray(np.where(spare > 0, batch, np.inf))


def solve_log_loss(
    log_size: FloatArray,
    alpha_S: FloatArray,
    log_steps: FloatArray,
    log_batch: FloatArray,
    alpha_B: FloatArray,
) -> FloatArray:
    """Log L with ``L = e^log_size + (e^log_steps (1 + e^log_batch / L^(1/alpha_B)))^alpha_S``.

    All arguments broadcast. ``log_steps`` is ``log(S_c / S)``, ``log_batch`` is
    ``log(B_star / B)``. Cost: some 5 to 10 passes over the arrays.
    """
    u = np.logaddexp(log_size, alpha_S * log_steps)  # B without end: from below
    shape = np.broadcast_shapes(u.shape, np.shape(log_batch), np.shape(alpha_B))
    u = np.broadcast_to(u, shape).copy()
    for _ in range(_STEPS):
        log_m = log_batch - u / alpha_B
        soft = np.logaddexp(0.0, log_m)
        steps = alpha_S * (log_steps + soft)
        right = np.logaddexp(log_size, steps)
        slope = 1 + np.exp(steps - right) * alpha_S / alpha_B * np.exp(log_m - soft)
        step = (right - u) / slope
        u += step
        if not np.any(np.abs(step) > _CLOSE * (1 + np.abs(u))):
            break
    return u


def _positive(name: str, value: ArrayLike) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    bad = array[~((array > 0) & np.isfinite(array))]
    if bad.size:
        raise ValueError(f"{name} must be finite and > 0, got {bad.flat[0]}")
    return array
