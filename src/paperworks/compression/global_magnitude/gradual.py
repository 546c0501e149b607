"""Pruning in small steps while the network trains, to the sparsity of the end.

The paper prunes gradually too (arXiv:2209.14624), and finds that this saves more FLOPs; its
published code has pruning in one go alone. The sparsity here rises along the cubic of Zhu and
Gupta, arXiv:1710.01878, equation 1: fast at first, when much can be spared, slowly at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from paperworks.compression.masks import MaskedTraining


class Pruner(Protocol):
    """What prunes a model in place to a sparsity, by its weights alone."""

    sparsity: float
    skip: Sequence[str]

    def __call__(self, model: nn.Module) -> Any:
        """Prune ``model``."""


class GradualPruning:
    """Prunes a model further and further during training; keeps zeros zero in between.

    Call it after each step of the optimizer, or let it :meth:`follow` the optimizer. Step ``t``
    of the ``n = (stop - start) // every`` prunings, at ``start + t * every``, prunes to::

        sparsity + (initial - sparsity) * (1 - t / n) ** 3

    Parameters
    ----------
    pruner : GlobalMagnitudePruner
        Its ``sparsity`` is that of the end; its other settings hold at every step. Any other with
        a ``sparsity`` and a ``skip`` will do.
    model : nn.Module
    start, stop : int
        Optimizer steps, counted from 1, of the first pruning (``t = 0``) and of the last one.
        Leave some training after ``stop`` to recover.
    every : int
        Steps from one pruning to the next; must divide ``stop - start``. The network recovers in
        between: Zhu and Gupta take 100 to 1,000.
    initial : float in [0, sparsity]
        The sparsity at ``start``. For ``n:m`` at least ``1 - n / m``.

    Raises
    ------
    ValueError
        If the steps or the sparsities are not in order; and all that the pruner raises.

    Notes
    -----
    One byte a weight for the masks, one pass over the weights a step, four a pruning.

    Examples
    --------
    >>> import torch
    >>> from paperworks.compression.global_magnitude import GlobalMagnitudePruner
    >>> model = torch.nn.Linear(10, 10)
    >>> pruner = GlobalMagnitudePruner(sparsity=0.8)
    >>> gradual = GradualPruning(pruner, model, start=10, stop=50, every=10)
    >>> [round(gradual.sparsity_at(step), 3) for step in (9, 10, 20, 30, 40, 50, 60)]
    [0.0, 0.0, 0.463, 0.7, 0.788, 0.8, 0.8]
    """

    def __init__(
        self,
        pruner: Pruner,
        model: nn.Module,
        *,
        start: int,
        stop: int,
        every: int,
        initial: float = 0.0,
    ) -> None:
        if not 1 <= start < stop or every < 1 or (stop - start) % every:
            raise ValueError(
                "gradual pruning needs 1 <= start < stop and an every that divides stop - start, "
                f"got start={start}, stop={stop}, every={every}"
            )
        if not 0 <= initial <= pruner.sparsity:
            raise ValueError(f"initial must lie in [0, sparsity={pruner.sparsity}], got {initial}")
        self._pruner, self._model = copy.copy(pruner), model
        self._final, self._initial = pruner.sparsity, initial
        self._start, self._stop, self._every = start, stop, every
        self._masked: MaskedTraining | None = None
        self.step = 0

    def sparsity_at(self, step: int) -> float:
        """The sparsity that the model has after optimizer step ``step``; 0 before the first."""
        if step < self._start:
            return 0.0
        done = (min(step, self._stop) - self._start) // self._every * self._every
        left = 1 - done / (self._stop - self._start)
        return self._final + (self._initial - self._final) * left**3

    def __call__(self, *_: object) -> None:
        """After one more step of the optimizer. Arguments that a hook passes are ignored."""
        self.step += 1
        if self._masked is not None:
            self._masked()
        if self._start <= self.step <= self._stop and not (self.step - self._start) % self._every:
            self._pruner.sparsity = self.sparsity_at(self.step)
            self._pruner(self._model)
            self._masked = MaskedTraining(self._model, skip=self._pruner.skip)

    def follow(self, optimizer: torch.optim.Optimizer) -> GradualPruning:
        """Do so after every step of ``optimizer`` from now on; returns this object."""
        optimizer.register_step_post_hook(self)
        return self
