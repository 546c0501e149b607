"""Kappas that are a sum over entries, kappa(x) = sum_i k(x_i).

All but the quadratic have slopes in [-1, 1], so that their feasible set is Lion's own box.
"""

# ruff: noqa: D102 (the methods are documented in Kappa)

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paperworks.training.lion_k.base import InPlaceKappa, check_positive, largest, within


class _Box(InPlaceKappa):
    """Slopes in [-1, 1]: the conjugate is finite on ``|y|_inf <= 1``."""

    blockwise = True

    def gauge(self, y: Tensor) -> Tensor:
        return largest(y)

    @property
    def feasible_set(self) -> str:
        return "|x|_inf <= 1/weight_decay"


@dataclass(frozen=True)
class L1(_Box):
    """``sum |x_i|``: Lion. Its subgradient is the sign, its conjugate 0 on the box."""

    def value(self, x: Tensor) -> Tensor:
        return x.abs().sum()

    def subgradient_(self, x: Tensor) -> Tensor:
        return x.sign_()

    def foreach_subgradient_(self, xs: list[Tensor]) -> None:
        torch._foreach_sign_(xs)

    def conjugate(self, y: Tensor) -> Tensor:
        return within(self.gauge(y), y.new_zeros(()))


@dataclass(frozen=True)
class Huber(_Box):
    """``x^2 / (2 delta)`` for ``|x| <= delta``, beyond it ``|x| - delta / 2``.

    The limit minimizes the loss plus ``weight_decay * delta / 2 * |x|_2^2`` on the box.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_positive("delta", self.delta)

    def value(self, x: Tensor) -> Tensor:
        inner = x.abs().clamp_max(self.delta)
        return (inner * (x.abs() - inner / 2)).sum() / self.delta

    def subgradient_(self, x: Tensor) -> Tensor:
        return x.div_(self.delta).clamp_(-1, 1)

    def foreach_subgradient_(self, xs: list[Tensor]) -> None:
        torch._foreach_div_(xs, self.delta)
        torch._foreach_clamp_max_(xs, 1)
        torch._foreach_clamp_min_(xs, -1)

    def conjugate(self, y: Tensor) -> Tensor:
        return within(self.gauge(y), self.delta / 2 * y.square().sum())


@dataclass(frozen=True)
class DeadZone(_Box):
    """``sum max(|x_i| - threshold, 0)``: entries with little momentum are left to the decay.

    The limit minimizes the loss plus ``threshold * |x|_1`` on the box.
    """

    threshold: float = 1e-3

    def __post_init__(self) -> None:
        check_positive("threshold", self.threshold)

    def value(self, x: Tensor) -> Tensor:
        return (x.abs() - self.threshold).clamp_min(0).sum()

    def subgradient_(self, x: Tensor) -> Tensor:
        return x.mul_(x.abs() > self.threshold).sign_()

    def conjugate(self, y: Tensor) -> Tensor:
        return within(self.gauge(y), self.threshold * y.abs().sum())


@dataclass(frozen=True)
class Relativistic(_Box):
    """``sum sqrt(x_i^2 + eps^2)``, a smooth absolute value; its subgradient has no kink at 0.

    The limit minimizes the loss minus ``eps / weight_decay * sum sqrt(1 - (weight_decay x_i)^2)``
    on the box.
    """

    eps: float = 1.0

    def __post_init__(self) -> None:
        check_positive("eps", self.eps)

    def value(self, x: Tensor) -> Tensor:
        return torch.hypot(x, x.new_tensor(self.eps)).sum()

    def subgradient_(self, x: Tensor) -> Tensor:
        return x.div_(torch.hypot(x, x.new_tensor(self.eps)))

    def conjugate(self, y: Tensor) -> Tensor:
        return within(self.gauge(y), -self.eps * (1 - y.square()).clamp_min(0).sqrt().sum())


@dataclass(frozen=True)
class LogCosh(_Box):
    """``sum scale * log cosh(x_i / scale)``, whose subgradient is ``tanh(x / scale)``.

    The limit minimizes the loss plus an entropy of the two numbers ``(1 +- weight_decay x_i) / 2``
    on the box.
    """

    blockwise = False  # PyTorch shares even a small tanh among its threads
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def value(self, x: Tensor) -> Tensor:
        z = x.abs() / self.scale
        return self.scale * (z + torch.log1p(torch.expm1(-2 * z) / 2)).sum()

    def subgradient_(self, x: Tensor) -> Tensor:
        return x.div_(self.scale).tanh_()

    def foreach_subgradient_(self, xs: list[Tensor]) -> None:
        torch._foreach_div_(xs, self.scale)
        torch._foreach_tanh_(xs)

    def conjugate(self, y: Tensor) -> Tensor:
        upper, lower = (1 + y).clamp_min(0), (1 - y).clamp_min(0)
        entropy = (torch.xlogy(upper, upper) + torch.xlogy(lower, lower)).sum() / 2
        return within(self.gauge(y), self.scale * entropy)


@dataclass(frozen=True)
class Quadratic(InPlaceKappa):
    """``|x|_2^2 / 2``: momentum with decoupled weight decay.

    Nothing is forbidden; the limit minimizes the loss plus ``weight_decay / 2 * |x|_2^2``.
    """

    blockwise = True

    def value(self, x: Tensor) -> Tensor:
        return x.square().sum() / 2

    def subgradient_(self, x: Tensor) -> Tensor:
        return x

    def foreach_subgradient_(self, xs: list[Tensor]) -> None:
        pass

    def conjugate(self, y: Tensor) -> Tensor:
        return y.square().sum() / 2

    def gauge(self, y: Tensor) -> Tensor:
        return y.new_zeros(())

    @property
    def feasible_set(self) -> str:
        return "every x"
