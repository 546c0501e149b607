"""GraNd: the length of each example's gradient.

Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet", arXiv 2107.07075, definition 2.1: the
expected norm of the loss's gradient in the weights, over initialisations, at or soon after the
start of training. Here all per-example gradients of a batch come from one vectorised backward pass
(torch.func), for any module without a loop over examples.

Departure: the average over initialisations is over the models that are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]
_NUMBERS = 4_000_000

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def grand(
    models: torch.nn.Module | Sequence[torch.nn.Module],
    x: Any,
    y: Any,
    *,
    loss: Loss | None = None,
    parameters: Callable[[str], bool] | None = None,
    batch_size: int | None = None,
) -> FloatArray:
    """GraNd score: the mean over models of the norm of an example's loss gradient.

    Parameters
    ----------
    models : torch.nn.Module or sequence of them
        From different initialisations, at or soon after the start of training; about 10. They run
        in evaluation mode, so that an example does not depend on its batch, and are left as they
        were.
    x : (n, ...) tensor or array
        Inputs. Arrays become tensors of the model's own dtype.
    y : (n,) tensor or array
        Targets.
    loss : callable, optional
        ``loss(outputs, targets)`` of a batch of one, a scalar; default cross-entropy.
    parameters : callable, optional
        Given a parameter's name, whether its gradient counts. Default all that require gradients.
        ``lambda name: name.startswith("head.")`` counts the last layer alone, which is cheaper and
        is what some libraries call GraNd.
    batch_size : int, optional
        Examples per pass. Memory grows with ``batch_size`` times the counted parameters. Default:
        up to 128, and as many as have 4 million numbers together, about what a cache holds.

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher for harder.

    Raises
    ------
    ValueError
        For inputs that do not fit, or where no parameter counts.

    Notes
    -----
    A forward and a backward pass for each example and model, O(n M) of them. On a CPU with large
    dense layers that is no faster than a loop over examples. Modules that change their own buffers
    while they run, or branch on data, cannot be vectorised by torch.func.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> grand(model, [[3.0, 4.0], [0.6, 0.8]], [0, 1]).round(4).tolist()  # |x| / sqrt(2)
    [3.5355, 0.7071]
    """
    import torch

    many = [models] if isinstance(models, torch.nn.Module) else list(models)
    if not many:
        raise ValueError("models must hold at least one module, got none")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    measure = loss if loss is not None else torch.nn.functional.cross_entropy
    total = np.zeros(len(x))
    for model in many:
        was = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            total += _norms(model, x, y, measure, parameters, batch_size)
        finally:
            for module, training in was:
                module.training = training
    return total / len(many)


def _norms(
    model: torch.nn.Module,
    x: Any,
    y: Any,
    loss: Loss,
    parameters: Callable[[str], bool] | None,
    batch_size: int | None,
) -> FloatArray:
    import torch
    from torch.func import functional_call, grad, vmap

    wanted: dict[str, torch.Tensor] = {}
    fixed = dict(model.named_buffers())
    for name, value in model.named_parameters():
        counts = value.requires_grad and (parameters is None or parameters(name))
        (wanted if counts else fixed)[name] = value.detach()
    if not wanted:
        names = ", ".join(name for name, _ in model.named_parameters())
        raise ValueError(f"no parameter counts; there are: {names or 'none'}")
    first = next(iter(wanted.values()))
    inputs = torch.as_tensor(x)
    if inputs.is_floating_point():
        inputs = inputs.to(first.dtype)
    targets = torch.as_tensor(y)
    if len(inputs) != len(targets):
        raise ValueError(f"x holds {len(inputs)} examples and y {len(targets)}")

    def one(weights: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = functional_call(model, {**fixed, **weights}, (a[None],))
        return loss(out, b[None])

    counted = sum(value.numel() for value in wanted.values())
    size = batch_size or min(max(_NUMBERS // counted, 1), 128)
    each = vmap(grad(one), in_dims=(None, 0, 0))
    norms = []
    for a, b in zip(inputs.split(size), targets.split(size), strict=True):
        gradients = each(wanted, a.to(first.device), b.to(first.device))
        parts = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
        norms.append(torch.linalg.vector_norm(torch.stack(parts), dim=0).cpu().double().numpy())
    return np.concatenate(norms)
