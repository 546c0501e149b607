"""What a kappa is: a convex function that shapes the update of :class:`LionK` and its limit.

The optimizer moves along the subgradient of ``kappa``; its weight decay makes it minimize the loss
plus ``conjugate(weight_decay * x) / weight_decay``. Where the conjugate is infinite, ``x`` is
forbidden: that is the feasible set. For every named kappa here the domain of the conjugate is the
unit ball of a norm (``gauge``) or the whole space.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# A subgradient lies on the boundary of the domain up to rounding, and counts as inside.
BOUNDARY_SLACK = 128


class Kappa(ABC):
    """A convex function with its subgradient and its conjugate.

    Derive from it to use a kappa of your own; only :meth:`subgradient` and :meth:`conjugate` must
    be written, and :class:`LionK` itself calls the subgradient alone. It is applied to each
    parameter tensor by itself, so that the kappa of a model is the sum over its tensors.

    Examples
    --------
    >>> import torch
    >>> from paperworks.training import lion_k
    >>> k = lion_k.kappa("huber", delta=0.5)
    >>> k.subgradient(torch.tensor([-3.0, 0.25])).tolist()
    [-1.0, 0.5]
    >>> k.feasible_set
    '|x|_inf <= 1/weight_decay'
    """

    blockwise: bool = False
    """Whether a large tensor may be updated block by block: entry i of the subgradient depends on
    entry i of x alone, and costs no more than memory does."""

    @abstractmethod
    def subgradient(self, x: Tensor) -> Tensor:
        """One subgradient at ``x``, of its shape and dtype; 0 at 0 for every named kappa."""

    @abstractmethod
    def conjugate(self, y: Tensor) -> Tensor:
        """``sup_x <x, y> - value(x)``, a scalar tensor; ``inf`` outside its domain."""

    def value(self, x: Tensor) -> Tensor:
        """The function itself, a scalar tensor: by default from Fenchel's equality."""
        s = self.subgradient(x)
        return (x * s).sum() - self.conjugate(s)

    def gauge(self, y: Tensor) -> Tensor:
        """The least s >= 0 with y in s times the domain of the conjugate, a scalar tensor.

        It is 0 everywhere where the domain is the whole space.

        Raises
        ------
        NotImplementedError
            For a kappa of the user's own that does not say.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no gauge; give one to measure distances to its feasible set"
        )

    @property
    def feasible_set(self) -> str:
        """The weights that the optimizer's limit may have, in words."""
        return "conjugate(weight_decay * x) < inf"

    def subgradient_(self, x: Tensor) -> Tensor:
        """Overwrite ``x`` with its subgradient and return it."""
        return x.copy_(self.subgradient(x))

    def foreach_subgradient_(self, xs: list[Tensor]) -> None:
        """:meth:`subgradient_` of every tensor of a list."""
        for x in xs:
            self.subgradient_(x)

    def penalty(self, x: Tensor, weight_decay: float) -> Tensor:
        """``conjugate(weight_decay * x) / weight_decay``: what :class:`LionK` adds to the loss.

        A scalar tensor; ``inf`` outside the feasible set.

        Raises
        ------
        ValueError
            If ``weight_decay`` is not > 0.
        """
        if check_decay(weight_decay) == 0:
            raise ValueError("the penalty needs weight_decay > 0; without it there is none, got 0")
        return self.conjugate(weight_decay * x) / weight_decay

    def distance(self, x: Tensor, weight_decay: float) -> Tensor:
        """How far ``x`` is from the feasible set, in the norm whose ball that set is.

        For ``"l1"`` it is the largest excess of an ``|x_i|`` over ``1 / weight_decay``. The step
        multiplies it by at most ``1 - lr * weight_decay``. A scalar tensor, in the unit of ``x``;
        0 where ``weight_decay`` is 0 and nothing is forbidden. One pass over ``x``.
        """
        if check_decay(weight_decay) == 0:
            return x.new_zeros(())
        return (self.gauge(weight_decay * x) - 1).clamp_min(0) / weight_decay


class InPlaceKappa(Kappa):
    """A kappa that is written in place first, so that a step needs no second temporary."""

    @abstractmethod
    def subgradient_(self, x: Tensor) -> Tensor:  # noqa: D102
        ...

    def subgradient(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.subgradient_(x.clone())


@dataclass(frozen=True)
class CustomKappa(Kappa):
    """The user's own kappa, from two functions.

    Parameters
    ----------
    subgradient_fn : callable
        Tensor to tensor of the same shape and dtype. A kappa need not be even.
    conjugate_fn : callable
        Tensor to scalar tensor; ``inf`` outside its domain. Needed for the theory alone
        (``value``, ``penalty``, the Lyapunov function); the optimizer never calls it.
    gauge_fn : callable, optional
        Tensor to scalar tensor, as :meth:`Kappa.gauge`; needed for distances.
    blockwise : bool
        True where entry i of the subgradient depends on entry i alone: large tensors are then
        updated block by block, which is faster where it is a matter of a few operations.

    Examples
    --------
    Lion with weights in [0, 1 / weight_decay], from kappa(x) = sum max(x, 0):

    >>> import torch
    >>> from paperworks.training import LionK, lion_k
    >>> def conjugate(y):
    ...     return torch.where(((y < 0) | (y > 1)).any(), torch.inf, 0.0)
    >>> relu = lion_k.CustomKappa(lambda x: (x > 0).to(x.dtype), conjugate, blockwise=True)
    >>> x = torch.nn.Parameter(torch.tensor([0.5, 0.5]))
    >>> optimizer = LionK([x], lr=0.1, weight_decay=1.0, kappa=relu)
    >>> for _ in range(200):
    ...     x.grad = torch.tensor([1.0, -1.0])
    ...     optimizer.step()
    >>> (x.detach() * 1000).round().abs().tolist()
    [0.0, 1000.0]
    """

    subgradient_fn: Callable[[Tensor], Tensor]
    conjugate_fn: Callable[[Tensor], Tensor] | None = None
    gauge_fn: Callable[[Tensor], Tensor] | None = None
    blockwise: bool = False

    def subgradient(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.subgradient_fn(x)

    def conjugate(self, y: Tensor) -> Tensor:  # noqa: D102
        if self.conjugate_fn is None:
            raise NotImplementedError("this CustomKappa has no conjugate; give it a conjugate_fn")
        return self.conjugate_fn(y)

    def gauge(self, y: Tensor) -> Tensor:  # noqa: D102
        return super().gauge(y) if self.gauge_fn is None else self.gauge_fn(y)


def check_decay(weight_decay: float) -> float:
    """``weight_decay``, which must be finite and not negative."""
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be finite and >= 0, got {weight_decay}")
    return weight_decay


def check_positive(name: str, value: float) -> None:
    """Refuse a setting that is not a finite positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def within(gauge: Tensor, inside: Tensor) -> Tensor:
    """``inside`` where ``gauge`` is at most 1 up to rounding, else infinity."""
    limit = 1 + BOUNDARY_SLACK * torch.finfo(gauge.dtype).eps
    return torch.where(gauge <= limit, inside, torch.inf)


def largest(x: Tensor) -> Tensor:
    """The largest ``|x_i|``, a scalar; 0 for an empty tensor."""
    if x.numel() == 0:
        return x.new_zeros(())
    return torch.linalg.vector_norm(x, torch.inf)
