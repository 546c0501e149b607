"""Physics-informed networks, compact: the contenders of the claim on Gaussian processes for PDEs.

A network of tanh layers learns ``u(x)`` from the equation at collocation points and the values on
the faces (Raissi, Perdikaris and Karniadakis 2019), by Adam and then L-BFGS, float32, its inputs
scaled to [-1, 1]. With `features` it sees random Fourier features of x at several scales instead
(Wang, Wang and Perdikaris 2021), the remedy for spectral bias that the paper compares with most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BOUNDARY_WEIGHT = 100.0
# Standard deviations of the random frequencies, in radians per half width of the box: between
# them they cover what the problems have.
SCALES = (1.0, 20.0, 50.0)


class Network(nn.Module):
    """Four hidden layers of tanh, plain or on Fourier features."""

    def __init__(self, lower: Tensor, upper: Tensor, width: int, features: bool) -> None:
        super().__init__()
        dim = len(lower)
        self.middle, self.half_width = (lower + upper) / 2, (upper - lower) / 2
        self.B: Tensor | None = None
        first = dim
        if features:
            each = width // len(SCALES)
            self.B = torch.cat([s * torch.randn(dim, each) for s in SCALES], 1)
            first = 2 * each * len(SCALES)
        sizes = [first, width, width, width, width]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            linear = nn.Linear(a, b)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.Tanh()]
        self.body = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Values at x, (m, d): (m,)."""
        z = (x - self.middle) / self.half_width
        if self.B is not None:
            projected = z @ self.B
            z = torch.cat((torch.cos(projected), torch.sin(projected)), 1)
        return self.body(z)[:, 0]


def derivatives(u: Tensor, x: Tensor, indices: Sequence[tuple[int, ...]]) -> dict[Any, Tensor]:
    """All derivatives that the operator reads, by repeated differentiation."""
    found = {(0,) * x.shape[1]: u}
    for index in sorted(indices, key=sum):
        value = u
        path = [0] * len(index)
        for dim, order in enumerate(index):
            for _ in range(order):
                path[dim] += 1
                if tuple(path) not in found:
                    slope = torch.autograd.grad(value.sum(), x, create_graph=True)[0]
                    found[tuple(path)] = slope[:, dim]
                value = found[tuple(path)]
    return found


def solve_pinn(
    operator: Any,
    grid: Sequence[np.ndarray],
    source: Callable[..., np.ndarray],
    boundary: Callable[..., np.ndarray],
    *,
    seed: int,
    features: bool,
    width: int = 60,
    adam: int,
    lbfgs: int,
    batch: int = 4000,
    learning_rate: float = 1e-3,
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Train on the nodes of the grid; the network as a function, and the seconds it took.

    In each step of Adam at most `batch` nodes are drawn, and as many for L-BFGS. The residual is
    taken relative to the source, so that equation and boundary weigh alike in any units.
    """
    nodes = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, len(grid))
    face = np.zeros(len(nodes), dtype=bool)
    for dim, kind in enumerate(operator.faces):
        face |= (kind in ("lower", "both")) & (nodes[:, dim] == grid[dim][0])
        face |= (kind in ("upper", "both")) & (nodes[:, dim] == grid[dim][-1])
    f, b = (each(*nodes.T) for each in (source, boundary))
    size = max(float(np.sqrt(np.mean(np.square(f)))), 1.0)
    inside = [torch.as_tensor(each, dtype=torch.float32) for each in (nodes, f / size)]
    edge = [torch.as_tensor(each[face], dtype=torch.float32) for each in (nodes, b)]
    coefficients = {index: float(value) for index, value in operator.terms.items()}
    generator = torch.Generator().manual_seed(seed)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(inside[0].amin(0), inside[0].amax(0), width, features)

    def loss(x: Tensor, right: Tensor, points: Tensor, values: Tensor) -> Tensor:
        x = x.requires_grad_(True)
        fields = derivatives(network(x), x, operator.indices)
        gap = operator.apply(fields, coefficients) / size - right
        return gap.square().mean() + BOUNDARY_WEIGHT * (network(points) - values).square().mean()

    def sample(pair: list[Tensor], most: int) -> list[Tensor]:
        if len(pair[0]) <= most:
            return [each.clone() for each in pair]
        chosen = torch.randint(len(pair[0]), (most,), generator=generator)
        return [each[chosen] for each in pair]

    start = time.perf_counter()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, adam, learning_rate / 50)
    for _ in range(adam):
        optimizer.zero_grad()
        loss(*sample(inside, batch), *sample(edge, batch)).backward()
        optimizer.step()
        schedule.step()
    fixed = (*sample(inside, batch), *sample(edge, batch))
    second = torch.optim.LBFGS(
        network.parameters(), max_iter=lbfgs, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        second.zero_grad()
        value = loss(*fixed)
        value.backward()
        return value

    if lbfgs:
        second.step(closure)
    seconds = time.perf_counter() - start

    def predict(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = torch.as_tensor(points, dtype=torch.float32)
            return network(x).double().numpy()

    return predict, seconds
