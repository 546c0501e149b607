"""Small networks on tables of numbers: layers, and training that stops early.

Randomness comes from one generator. Torch's global seed is neither read nor set.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from paperworks.statistics.checking import probability


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: Adam on mini-batches, and when it stops.

    ``batch_size`` 0 is the authors' rule, 8 for tens of rows, doubling with each power of ten.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-5
    batch_size: int = 0
    max_epochs: int = 200
    patience: int = 20
    validation_fraction: float = 0.2

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "validation_fraction"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and math.isfinite(value)):
                raise ValueError(f"{name} must be a number, got {value!r}")
        for name in ("batch_size", "max_epochs", "patience"):
            value = getattr(self, name)
            if not isinstance(value, Integral):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if self.lr <= 0:
            raise ValueError(f"lr must be > 0, got {self.lr}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be >= 0, got {self.weight_decay}")
        if self.max_epochs < 1 or self.patience < 1:
            raise ValueError(
                f"max_epochs and patience must be >= 1, got {self.max_epochs} and {self.patience}"
            )
        probability("validation_fraction", self.validation_fraction)
        if self.batch_size < 0:
            raise ValueError(f"batch_size must be >= 1, or 0 to choose it, got {self.batch_size}")

    def rows_a_batch(self, n: int) -> int:
        """Rows of a mini-batch, for ``n`` rows in all."""
        return self.batch_size or 2 ** (3 + int(math.log10(max(n, 1))))


@dataclass(frozen=True)
class Course:
    """How a training went: epochs run, the best validation loss, and whether it had settled."""

    epochs: int
    best_epoch: int
    validation_loss: float
    converged: bool


def linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's own initial distribution, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
    bound = 1 / math.sqrt(fan_in)
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def trunk(inputs: int, hidden: int, layers: int, generator: torch.Generator) -> nn.Sequential:
    """Fully connected ELU layers, the authors' activation; ``hidden`` features come out."""
    parts: list[nn.Module] = []
    for depth in range(layers):
        parts += [linear(inputs if depth == 0 else hidden, hidden, generator), nn.ELU()]
    return nn.Sequential(*parts)


def split_rows(n: int, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows to stop by, at random; at least one of each."""
    held = min(max(round(n * fraction), 1), n - 1)
    order = torch.randperm(n, generator=generator)
    return order[held:], order[:held]


def train(
    parameters: list[nn.Parameter],
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    validate: Callable[[], Tensor],
    rows: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    name: str,
) -> Course:
    """Train ``parameters`` of ``network`` in place; it ends as it was after its best epoch.

    ``loss(batch)`` is the loss on those rows, ``validate()`` the loss on the rows held out. The
    untrained network counts as epoch 0, so that training never ends behind where it began.
    """
    size = schedule.rows_a_batch(len(rows))
    # AMSGrad, as the authors train.
    optimizer = torch.optim.Adam(
        parameters, schedule.lr, weight_decay=schedule.weight_decay, amsgrad=True
    )

    def held_out() -> float:
        with torch.no_grad():
            return float(validate())

    best, best_epoch, kept = held_out(), 0, copy.deepcopy(network.state_dict())
    epoch = 0
    for epoch in range(1, schedule.max_epochs + 1):
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(size):
            optimizer.zero_grad(set_to_none=True)
            loss(batch).backward()
            optimizer.step()
        found = held_out()
        if found < best:
            best, best_epoch, kept = found, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= schedule.patience:
            break
    network.load_state_dict(kept)
    converged = epoch - best_epoch >= schedule.patience
    if not converged:
        warnings.warn(
            f"{name}: still getting better after max_epochs={schedule.max_epochs}; raise it, or "
            "lower patience",
            ConvergenceWarning,
            stacklevel=3,
        )
    return Course(epoch, best_epoch, best, converged)


def pinball_mean(q: Tensor, y: Tensor, levels: Tensor) -> Tensor:
    """Mean pinball loss of ``q`` (n, m) at ``y`` (n,), over rows and levels."""
    error = y[:, None] - q
    return torch.maximum(levels * error, (levels - 1) * error).mean()


def seeded(random_state: object) -> torch.Generator:
    """A generator from scikit-learn's ``random_state``."""
    from sklearn.utils import check_random_state

    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return torch.Generator().manual_seed(seed)
