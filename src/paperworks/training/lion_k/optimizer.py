"""Lion-kappa as a ``torch.optim.Optimizer``.

Chen, Liu, Liang, Liu: "Lion Secretly Solves Constrained Optimization: As Lyapunov Predicts",
arXiv 2310.05898: the Lion-K update, with explicit, decoupled weight decay. The state ``exp_avg`` is
minus the paper's ``m``, so that a checkpoint of lion-pytorch can be loaded. The paper treats all
weights as one vector; here kappa is applied to each tensor by itself (their sum is again convex),
which is the same for every elementwise kappa and layer-wise normalisation for the norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from paperworks.training.lion_k.base import Kappa, check_decay
from paperworks.training.lion_k.registry import from_plain, to_plain
from paperworks.training.lion_k.registry import kappa as named

# A large tensor on a CPU is updated in blocks that stay in cache from the first operation to the
# last: a third of the memory traffic. PyTorch runs a block of this size on one thread, without a
# barrier; that wins until many cores share the whole tensor.
BLOCK = 32768
FEW_THREADS = 8


class LionK(Optimizer):
    """Lion, and every other optimizer of its family, one per convex function kappa.

    With gradients g, momentum m and subgradient ``s`` of kappa, a step is::

        z = -(beta1 * m + (1 - beta1) * g)
        x = (1 - lr * weight_decay) * x + lr * s(z)
        m = beta2 * m + (1 - beta2) * g

    With full gradients and a small ``lr`` it minimizes ``loss(x) + conjugate(weight_decay * x) /
    weight_decay``. For Lion itself, ``kappa="l1"``, that is the loss under ``|x_i| <= 1 /
    weight_decay``. Weights that start outside come in at the rate ``1 - lr * weight_decay`` a
    step, whatever the gradients are (keep ``lr * weight_decay <= 1``).

    Take AdamW where gradients differ in scale from tensor to tensor and nothing has been tuned;
    take a projected method where a constraint must hold exactly and at every step.

    Parameters
    ----------
    params : iterable
        Parameters or param groups, real and floating. Every setting below may differ
        by group.
    lr : float or scalar Tensor
        Step size, >= 0. About a tenth of AdamW's.
    betas : (float, float)
        ``beta1`` in [0, 1] mixes the gradient into the direction, ``beta2`` in [0, 1) averages
        gradients. The defaults are Lion's.
    weight_decay : float
        Decoupled. 0 by default, as in lion-pytorch, since only the user can say how large the
        feasible set should be; the paper's theory needs it > 0.
    kappa : str or Kappa
        A name of :data:`paperworks.training.lion_k.KAPPAS`, one with settings,
        ``lion_k.kappa("huber", delta=1e-3)``, or a Kappa of your own.
    nesterov : bool
        False: the direction is the new momentum, as in Polyak's heavy ball (``beta1`` is then
        taken to be ``beta2``). The paper's system has ``epsilon = 0``.
    maximize : bool
        Climb instead.
    foreach : bool or None
        Update the tensors of a group together. None: on a GPU, and for small tensors on a CPU.
        The result on a CPU is the same to the bit (in half precision the tensors are therefore
        updated one by one there).
    fused : bool
        One pass over memory on the CPU, compiled on first use (a few seconds, cached), for
        ``kappa="l1"`` in float32 or float64. Same result to the bit.

    Raises
    ------
    ValueError
        For a setting outside its range.
    TypeError
        For integer or complex parameters, and for a kappa that is none.
    RuntimeError
        By ``step``: for sparse gradients.

    Notes
    -----
    Time and memory traffic are linear in the number of weights; the state is one tensor per
    parameter, half of Adam's. In half precision the update is rounded to the parameter's dtype.

    References
    ----------
    arXiv 2310.05898; Lion: arXiv 2302.06675.

    Examples
    --------
    Minimize ``(x - 3)^2`` under ``|x| <= 1 / weight_decay``:

    >>> import torch
    >>> from paperworks.training import LionK
    >>> x = torch.nn.Parameter(torch.tensor([10.0]))
    >>> optimizer = LionK([x], lr=0.02, weight_decay=0.5)
    >>> for _ in range(1000):
    ...     optimizer.zero_grad()
    ...     (x - 3).square().sum().backward()
    ...     optimizer.step()
    >>> round(x.item(), 3)
    2.0
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        kappa: str | Kappa = "l1",
        *,
        nesterov: bool = True,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "kappa": kappa,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with settings of its own where it has them."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            group["kappa"] = _resolve(group["kappa"])
            _check(group)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model and returns the loss, which is handed back.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            update = _Update(
                kappa=group["kappa"],
                lr=_number(group["lr"]),
                weight_decay=group["weight_decay"],
                beta1=beta1 if group["nesterov"] else beta2,
                beta2=beta2,
                sign=-1.0 if group["maximize"] else 1.0,
            )
            together: dict[Any, list[tuple[Tensor, Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError(
                        "LionK does not take sparse gradients: every weight decays at every step; "
                        "build the embedding with sparse=False"
                    )
                state = self.state[p]
                if "exp_avg" not in state:
                    state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                tensors = (p, p.grad, state["exp_avg"])
                if group["fused"]:
                    update.fused(*tensors)
                elif _together(p, group["foreach"]):
                    together.setdefault((p.device, p.dtype), []).append(tensors)
                else:
                    update.single(*tensors)
            for rows in together.values():
                update.foreach(*(list(column) for column in zip(*rows, strict=True)))
        return loss

    @torch.no_grad()
    def distance(self) -> float:
        """The largest distance of a parameter tensor to its group's feasible set.

        As :meth:`Kappa.distance`: 0 once the paper's first phase is over. One pass over the
        weights.
        """
        distances = [
            float(group["kappa"].distance(p, group["weight_decay"]))
            for group in self.param_groups
            for p in group["params"]
        ]
        return max(distances, default=0.0)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state in plain values and tensors."""
        out = super().state_dict()
        for group in out["param_groups"]:
            group["kappa"] = to_plain(group["kappa"])
        return out

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; settings that it lacks (one of lion-pytorch's) stay as they are.

        Raises
        ------
        ValueError
            If its groups do not fit, or it needs a kappa of the user's own that is not here.
        """
        groups = []
        for i, saved in enumerate(state_dict["param_groups"]):
            own = self.param_groups[i] if i < len(self.param_groups) else self.defaults
            merged = {**{k: v for k, v in own.items() if k != "params"}, **saved}
            if isinstance(merged["kappa"], dict):
                merged["kappa"] = from_plain(merged["kappa"], own["kappa"])
            groups.append(merged)
        super().load_state_dict({**state_dict, "param_groups": groups})
        for group, given in zip(self.param_groups, groups, strict=True):
            group["kappa"] = given["kappa"]  # the very object, where PyTorch has made a copy


class _Update:
    """One group's step, on one tensor at a time or on many; both do the same arithmetic."""

    def __init__(
        self,
        *,
        kappa: Kappa,
        lr: float | Tensor,
        weight_decay: float,
        beta1: float,
        beta2: float,
        sign: float,
    ) -> None:
        self.kappa, self.lr = kappa, lr
        self.keep: Any = 1.0 - lr * weight_decay
        # The paper's momentum is minus ours: kappa sees -(beta1 m + (1 - beta1) g).
        self.old, self.new = -beta1, -sign * (1.0 - beta1)
        self.decay, self.gain = beta2, sign * (1.0 - beta2)

    def single(self, p: Tensor, g: Tensor, m: Tensor) -> None:
        """Step one tensor, in blocks that stay in cache where kappa allows it."""
        whole = (
            not self.kappa.blockwise
            or p.numel() <= BLOCK
            or not _rounds_evenly(p)
            or torch.get_num_threads() > FEW_THREADS
            or not (p.is_contiguous() and g.is_contiguous() and m.is_contiguous())
        )
        if whole:
            self._apply(p, g, m, torch.empty_like(p))
            return
        scratch = torch.empty(BLOCK, dtype=p.dtype)
        flat = (t.view(-1).split(BLOCK) for t in (p, g, m))
        for p_, g_, m_ in zip(*flat, strict=True):
            self._apply(p_, g_, m_, scratch[: p_.numel()])

    def _apply(self, p: Tensor, g: Tensor, m: Tensor, scratch: Tensor) -> None:
        direction = torch.mul(m, self.old, out=scratch).add_(g, alpha=self.new)
        self.kappa.subgradient_(direction)
        p.mul_(self.keep)
        if isinstance(self.lr, Tensor):
            p.add_(direction.mul_(self.lr))
        else:
            p.add_(direction, alpha=self.lr)
        m.mul_(self.decay).add_(g, alpha=self.gain)

    def foreach(self, p: list[Tensor], g: list[Tensor], m: list[Tensor]) -> None:
        """Step many tensors of one device and dtype."""
        directions = list(torch._foreach_mul(m, self.old))
        torch._foreach_add_(directions, g, alpha=self.new)
        self.kappa.foreach_subgradient_(directions)
        torch._foreach_mul_(p, self.keep)
        if isinstance(self.lr, Tensor):
            torch._foreach_mul_(directions, self.lr)
            torch._foreach_add_(p, directions)
        else:
            torch._foreach_add_(p, directions, alpha=self.lr)
        torch._foreach_mul_(m, self.decay)
        torch._foreach_add_(m, g, alpha=self.gain)

    def fused(self, p: Tensor, g: Tensor, m: Tensor) -> None:
        """Step one tensor in one pass over memory."""
        from paperworks.training.lion_k import fused as kernel  # numba, for those who ask for it

        if not isinstance(self.lr, Tensor) and kernel.takes(p, g, m):
            constants = (self.keep, self.lr, self.old, self.new, self.decay, self.gain)
            kernel.step(p, g, m, *constants)
        else:
            self.single(p, g, m)


def _together(p: Tensor, foreach: bool | None) -> bool:
    if torch.compiler.is_compiling() or p.device.type != "cpu":
        return foreach is not False
    if not _rounds_evenly(p):
        return False
    return p.numel() <= BLOCK if foreach is None else foreach


def _rounds_evenly(p: Tensor) -> bool:
    """Whether an operation rounds an entry alike in a list, in a block and in the whole tensor.

    In half precision PyTorch's CPU kernels do not: some round a scalar to the tensor's dtype first.
    """
    return p.device.type == "cpu" and p.dtype in (torch.float32, torch.float64)


def _number(lr: float | Tensor) -> float | Tensor:
    """A learning rate kept in a tensor, as a number wherever the step is not being compiled."""
    if isinstance(lr, Tensor) and not torch.compiler.is_compiling():
        return lr.item()
    return lr


def _resolve(kappa: Any) -> Kappa:
    if isinstance(kappa, str):
        return named(kappa)
    if not isinstance(kappa, Kappa):
        raise TypeError(
            f"kappa must be a name or a Kappa, got {type(kappa).__name__}; "
            "lion_k.CustomKappa makes one of two functions"
        )
    return kappa


def _check(group: dict[str, Any]) -> None:
    lr, (beta1, beta2) = group["lr"], group["betas"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"a tensor lr must hold one number, got shape {tuple(lr.shape)}")
    if not 0 <= float(lr) < math.inf:
        raise ValueError(f"lr must be finite and >= 0, got {lr}")
    if not 0 <= beta1 <= 1:
        raise ValueError(f"beta1 must be in [0, 1], got {beta1}")
    if not 0 <= beta2 < 1:
        raise ValueError(f"beta2 must be in [0, 1), got {beta2}")
    check_decay(group["weight_decay"])
    if group["fused"] and group["foreach"]:
        raise ValueError("foreach and fused cannot both be True; choose one")
    if group["fused"] and to_plain(group["kappa"])["name"] != "l1":
        raise ValueError(f"fused=True is for kappa='l1' alone, got {group['kappa']}; leave it out")
    _check_parameters(group["params"])


def _check_parameters(params: Iterable[Tensor]) -> None:
    for p in params:
        if not p.is_floating_point():
            way_out = "use torch.view_as_real" if p.is_complex() else "convert them with .float()"
            raise TypeError(f"LionK takes real floating parameters, got {p.dtype}; {way_out}")
