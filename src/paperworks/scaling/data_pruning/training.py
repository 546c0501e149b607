"""Short trainings for the scores that need a model, for those who have no loop of their own.

A plain loop over tensors in memory: shuffled batches, one optimiser, no schedule. Whoever has a
training script should put :class:`.dynamics.TrainingDynamics` into it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.data_pruning.dynamics import TrainingDynamics

if TYPE_CHECKING:
    import torch

Factory = Callable[[], "torch.nn.Module"]
Optimizer = Callable[[Any], "torch.optim.Optimizer"]


def train(
    make_model: Factory,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    device: str = "cpu",
    seed: int = 0,
    dynamics: TrainingDynamics | None = None,
) -> torch.nn.Module:
    """Train one classifier by cross-entropy, and record its dynamics where asked to.

    Parameters
    ----------
    make_model : callable
        Makes a fresh module. Called under a seed of its own; the global seed is left alone.
    x : (n, ...) tensor or array
        Inputs. Arrays become tensors of the model's dtype.
    y : (n,) int
        Labels, 0 to C - 1.
    epochs : int
        Passes; 0 returns the untrained model.
    batch_size : int
        Examples per step.
    optimizer : callable, optional
        Given the parameters, makes an optimiser; default Adam with its own settings.
    device : str
        Where to train.
    seed : int
        Of initialisation, dropout and order.
    dynamics : TrainingDynamics, optional
        Gets the logits of every batch before its step.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Examples
    --------
    >>> import torch
    >>> dynamics = TrainingDynamics(20)
    >>> x = np.repeat([[1.0, 0.0], [0.0, 1.0]], 10, axis=0)
    >>> y = np.repeat([0, 1], 10)
    >>> _ = train(lambda: torch.nn.Linear(2, 2), x, y, epochs=5, dynamics=dynamics)
    >>> dynamics.presentations.tolist() == [5] * 20
    True
    """
    import torch

    if epochs < 0 or batch_size < 1:
        raise ValueError(f"epochs must be >= 0 and batch_size >= 1, got {epochs} and {batch_size}")
    if dynamics is not None and dynamics.n != len(x):
        raise ValueError(f"dynamics are of {dynamics.n} examples, x holds {len(x)}")
    with seeded(seed, device):
        model = make_model().to(device)
        inputs, labels = tensors(model, x, y, device)
        steps = (optimizer or torch.optim.Adam)(model.parameters())
        order = torch.Generator().manual_seed(seed)
        model.train()
        for _ in range(epochs):
            for at in torch.randperm(len(labels), generator=order).split(batch_size):
                logits = model(inputs[at])
                if dynamics is not None:
                    dynamics.record(at, logits, labels[at])
                loss = torch.nn.functional.cross_entropy(logits, labels[at])
                steps.zero_grad()
                loss.backward()
                steps.step()
        return model.eval()


def logits_of(model: torch.nn.Module, x: Any, *, batch_size: int = 1024) -> NDArray[np.float64]:
    """Outputs (n, C) of a model in evaluation mode, batch by batch."""
    import torch

    first = next(model.parameters(), None)
    device = "cpu" if first is None else first.device
    with torch.no_grad():
        inputs, _ = tensors(model, x, None, device)
        outputs = [model(part).double().cpu().numpy() for part in inputs.split(batch_size)]
    return np.concatenate(outputs)


def tensors(model: torch.nn.Module, x: Any, y: Any, device: Any) -> tuple[Any, Any]:
    """Inputs in the model's dtype, and labels as whole numbers that fit in number."""
    import torch

    first = next(model.parameters(), None)
    inputs = torch.as_tensor(x)
    if inputs.is_floating_point() and first is not None:
        inputs = inputs.to(first.dtype)
    if y is None:
        return inputs.to(device), None
    plain = y.detach().cpu().numpy() if hasattr(y, "detach") else np.asarray(y)
    if plain.shape != tuple(inputs.shape[:1]) or plain.dtype.kind not in "iu" or plain.min() < 0:
        raise ValueError(
            f"y must hold {len(inputs)} whole numbers from 0, one class each, got {plain.dtype} of "
            f"shape {plain.shape}; np.unique(y, return_inverse=True)[1] numbers any labels"
        )
    labels = torch.as_tensor(plain)
    return inputs.to(device), labels.long().to(device)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Torch's global generators under a seed, and back again."""
    import torch

    cuda = [torch.device(device)] if str(device).startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
