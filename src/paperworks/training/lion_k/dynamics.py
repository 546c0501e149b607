"""The continuous-time system behind Lion-kappa, and the paper's Lyapunov function on it.

With ``u = alpha * grad f(x) + gamma * m`` the system is::

    dm/dt = -u
    dx/dt = s(m - epsilon * u) - weight_decay * x          s the subgradient of kappa

``m`` has the paper's sign here (against the gradient). Phase 1: the distance of ``x`` to the
feasible set falls at least as fast as ``exp(-weight_decay * t)``. Phase 2: where it is feasible::

    H(x, m) = alpha f(x) + gamma / weight_decay * conjugate(weight_decay x)
              + c * (conjugate(weight_decay x) + kappa(m) - weight_decay <x, m>)
    c = (1 - epsilon gamma) / (1 + epsilon weight_decay)

never rises, for ``epsilon * gamma <= 1``; its rate is given in closed form by
:meth:`LionKFlow.dissipation`. The limit minimizes ``alpha f(x) + gamma / weight_decay *
conjugate(weight_decay x)``. The explicit step of :class:`LionK` is one step of length ``lr`` of the
momentum and of the weights, with ``alpha = gamma = (1 - beta2) / lr`` and ``epsilon = (1 - beta1) /
gamma``; beta1 = beta2 gives ``epsilon = lr``, which vanishes in the limit: Polyak's momentum.

The solver is SciPy's; kappas with a jump (a sign) make it take tiny steps where a trajectory slides
along the jump, so that the smooth kappas are the ones to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from paperworks.training.lion_k.base import Kappa, check_decay

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A solution of the system at the times asked for.

    Attributes
    ----------
    t : (n,) float64 ndarray
        Times.
    x, m : (n, ...) float64 Tensor
        Weights and momentum.
    lyapunov : (n,) float64 ndarray
        ``H(x, m)``; infinite during phase 1.
    distance : (n,) float64 ndarray
        Of ``x`` to the feasible set, in the norm whose ball that set is.
    converged : bool
        Whether the solver reached the last time; if not, the trajectory ends where it stopped.
    message : str
        The solver's own words.
    """

    t: Array
    x: Tensor
    m: Tensor
    lyapunov: Array
    distance: Array
    converged: bool
    message: str


@dataclass(frozen=True)
class LionKFlow:
    """The system for one loss and one kappa.

    Parameters
    ----------
    loss : callable
        Tensor of the shape of x, float64, to scalar tensor, differentiable by autograd.
    kappa : Kappa
        With a conjugate and a gauge.
    weight_decay : float
        > 0.
    alpha, gamma : float
        > 0: strength of the gradient, and rate at which momentum forgets.
    epsilon : float
        >= 0, with ``epsilon * gamma <= 1``; 0 is Polyak's momentum, more is Nesterov's part.

    Raises
    ------
    ValueError
        For a setting outside its range.

    Examples
    --------
    >>> import torch
    >>> from paperworks.training import lion_k
    >>> flow = lion_k.LionKFlow(
    ...     lambda x: (x - 3).square().sum(), lion_k.kappa("tanh"), weight_decay=0.5, epsilon=0.5
    ... )
    >>> path = flow.solve(torch.tensor([0.0]), torch.tensor([0.0]), t=torch.linspace(0, 40, 50))
    >>> bool((path.lyapunov[1:] <= path.lyapunov[:-1] + 1e-9).all()), path.converged
    (True, True)
    """

    loss: Callable[[Tensor], Tensor]
    kappa: Kappa
    weight_decay: float
    alpha: float = 1.0
    gamma: float = 1.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if check_decay(self.weight_decay) == 0:
            raise ValueError("the system needs weight_decay > 0 to have a feasible set, got 0")
        if not self.alpha > 0 or not self.gamma > 0:
            raise ValueError(f"alpha and gamma must be > 0, got {self.alpha} and {self.gamma}")
        if not 0 <= self.epsilon * self.gamma <= 1:
            raise ValueError(
                "the Lyapunov function needs 0 <= epsilon * gamma <= 1, "
                f"got {self.epsilon} * {self.gamma}; take a smaller epsilon"
            )

    @classmethod
    def of_optimizer(
        cls,
        loss: Callable[[Tensor], Tensor],
        kappa: Kappa,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> LionKFlow:
        """The system of which ``LionK(lr, betas, weight_decay, kappa)`` is a discretisation."""
        beta1, beta2 = betas
        if not lr > 0 or not 0 <= beta1 <= 1 or not 0 <= beta2 < 1:
            raise ValueError(f"needs lr > 0 and betas in [0, 1) x [0, 1), got {lr} and {betas}")
        gamma = (1 - beta2) / lr
        return cls(loss, kappa, weight_decay, gamma, gamma, (1 - beta1) / gamma)

    def velocity(self, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """``dx/dt`` and ``dm/dt``."""
        u = self._force(x, m)
        return self.kappa.subgradient(m - self.epsilon * u) - self.weight_decay * x, -u

    def objective(self, x: Tensor) -> Tensor:
        """``alpha f(x) + gamma / weight_decay * conjugate(weight_decay x)``, a scalar tensor."""
        return self.alpha * self.loss(x) + self.gamma * self.kappa.penalty(x, self.weight_decay)

    def lyapunov(self, x: Tensor, m: Tensor) -> Tensor:
        """``H(x, m)``, a scalar tensor; infinite outside the feasible set."""
        y = self.weight_decay * x
        coupling = self.kappa.conjugate(y) + self.kappa.value(m) - (y * m).sum()
        return self.objective(x) + self._c * coupling

    def dissipation(self, x: Tensor, m: Tensor, y: Tensor) -> Tensor:
        """``-dH/dt`` in closed form, never negative.

        ``y`` is a subgradient of the conjugate at ``weight_decay * x`` (a point at which kappa has
        the slope ``weight_decay * x``). With ``z = m - epsilon u`` and ``s`` the subgradient::

            (gamma + c weight_decay) <z - y, s(z) - s(y)>  +  c / epsilon <z - m, s(z) - s(m)>

        Both terms are >= 0 since a subgradient is monotone.
        """
        u = self._force(x, m)
        z = m - self.epsilon * u
        s_z = self.kappa.subgradient(z)
        first = ((z - y) * (s_z - self.weight_decay * x)).sum()
        second = -(u * (s_z - self.kappa.subgradient(m))).sum()
        return (self.gamma + self._c * self.weight_decay) * first + self._c * second

    def solve(
        self, x0: Tensor, m0: Tensor, t: Tensor, *, rtol: float = 1e-9, atol: float = 1e-11
    ) -> Trajectory:
        """Follow the system from ``x0`` and ``m0`` through the increasing times ``t``.

        In float64, by SciPy's DOP853 with the given tolerances.

        Raises
        ------
        ValueError
            If the shapes of ``x0`` and ``m0`` differ, ``t`` does not increase, or the gradient at
            ``x0`` is not finite.
        """
        if x0.shape != m0.shape:
            raise ValueError(
                f"x0 and m0 must have one shape, got {tuple(x0.shape)} and {tuple(m0.shape)}"
            )
        times = t.detach().cpu().double().numpy()
        if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
            raise ValueError("t must hold at least two increasing times")
        shape, n = x0.shape, x0.numel()

        def both(state: Array) -> tuple[Tensor, Tensor]:
            pair = torch.from_numpy(state.copy())
            return pair[:n].view(shape), pair[n:].view(shape)

        def rhs(_: float, state: Array) -> Array:
            dx, dm = self.velocity(*both(state))
            return torch.cat([dx.flatten(), dm.flatten()]).numpy()

        start = torch.cat([x0.detach().double().flatten(), m0.detach().double().flatten()])
        if not np.isfinite(rhs(0.0, start.cpu().numpy())).all():
            raise ValueError("the loss has no finite gradient at x0; start elsewhere")
        found = solve_ivp(
            rhs,
            (times[0], times[-1]),
            start.cpu().numpy(),
            method="DOP853",
            t_eval=times,
            rtol=rtol,
            atol=atol,
        )
        states = [both(state) for state in found.y.T]
        with torch.no_grad():
            lyapunov = [float(self.lyapunov(x, m)) for x, m in states]
            distance = [float(self.kappa.distance(x, self.weight_decay)) for x, _ in states]
        return Trajectory(
            t=found.t,
            x=torch.stack([x for x, _ in states]),
            m=torch.stack([m for _, m in states]),
            lyapunov=np.array(lyapunov),
            distance=np.array(distance),
            converged=bool(found.success),
            message=str(found.message),
        )

    @property
    def _c(self) -> float:
        return (1 - self.epsilon * self.gamma) / (1 + self.epsilon * self.weight_decay)

    def _force(self, x: Tensor, m: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(at), at)
        return self.alpha * gradient + self.gamma * m.detach()
