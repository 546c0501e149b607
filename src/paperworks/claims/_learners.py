"""Classifiers of several sizes, trained on growing subsets: the learning curves of two claims.

Each learner has three model sizes and fixed settings. A subset is the first ``n`` examples of a
shuffled training set, so that smaller subsets lie within larger ones; the error is that of the
whole test set. Nothing is stopped early or chosen by the test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A classification problem: features (n, d) float32, labels (n,) int64, in a shuffled order."""

    x: FloatArray
    y: NDArray[np.int64]
    x_test: FloatArray
    y_test: NDArray[np.int64]
    classes: int

    @property
    def chance(self) -> float:
        """Error of guessing."""
        return 1 - 1 / self.classes


def load_task(name: str, seed: int) -> Task:
    """One of ``digits``, ``mnist1d`` and ``mnist``, drawn and shuffled by the seed."""
    import paperworks.data

    options: dict[str, Any] = {} if name == "mnist" else {"seed": seed}
    images = paperworks.data.load(name, **options)
    order = np.random.default_rng(seed).permutation(len(images.y_train))
    x, x_test = (
        part.reshape(len(part), -1).astype(np.float32) for part in (images.x_train, images.x_test)
    )
    centre, scale = x.mean(), x.std()
    return Task(
        ((x - centre) / scale)[order],
        images.y_train[order],
        (x_test - centre) / scale,
        images.y_test,
        len(images.classes),
    )


def random_features(
    task: Task, width: int, sizes: Sequence[int], seed: int, device: str, steps: int
) -> FloatArray:
    """Ridge regression of one-hot labels on ``width`` random ReLU features.

    The penalty is the one, of six, with the least leave-one-out error on the subset itself (PRESS).
    """
    generator = torch.Generator().manual_seed(seed)
    d = task.x.shape[1]
    weight = torch.randn(d, width, generator=generator).to(device) / math.sqrt(d)
    offset = torch.randn(width, generator=generator).to(device)

    def features(x: Any) -> Tensor:
        return torch.relu(torch.from_numpy(x).to(device) @ weight + offset).double()

    every, test = features(task.x[: max(sizes)]), features(task.x_test)
    labels = torch.from_numpy(task.y).to(device)
    truth = torch.from_numpy(task.y_test).to(device)
    errors = []
    for n in sizes:
        z = every[:n]
        target = torch.nn.functional.one_hot(labels[:n], task.classes).double()
        middle, level = z.mean(0), target.mean(0)
        u, s, vt = torch.linalg.svd(z - middle, full_matrices=False)
        best, found = math.inf, None
        for penalty in 10.0 ** torch.arange(-4, 2):
            shrink = s**2 / (s**2 + penalty * n)
            fitted = (u * shrink) @ (u.T @ (target - level))
            leverage = (u**2 * shrink).sum(1, keepdim=True) + 1 / n
            left = ((target - level - fitted) / (1 - leverage).clamp_min(1e-6)).square().mean()
            if float(left) < best:
                best = float(left)
                found = vt.T @ ((shrink / s.clamp_min(1e-12))[:, None] * (u.T @ (target - level)))
        assert found is not None
        guess = ((test - middle) @ found + level).argmax(1)
        errors.append(float((guess != truth).double().mean()))
    return np.array(errors)


def perceptron(
    task: Task, width: int, sizes: Sequence[int], seed: int, device: str, steps: int
) -> FloatArray:
    """A network with one hidden layer of ``width`` ReLU units; all subsets train side by side.

    Adam with batches of 128, a peak step of 0.003 with a linear warm-up over a tenth of the steps
    and a cosine to zero, weight decay 0.01 (decoupled), ``steps`` steps whatever the subset.
    """
    generator = torch.Generator().manual_seed(seed)
    d, k, many = task.x.shape[1], task.classes, len(sizes)
    x = torch.from_numpy(task.x[: max(sizes)]).to(device)
    y = torch.from_numpy(task.y[: max(sizes)]).to(device)

    def layer(wide: int, out: int) -> tuple[Tensor, Tensor]:
        # The same start for every subset, so that they differ in their data alone.
        weight = torch.randn(wide, out, generator=generator) * math.sqrt(2 / wide)
        weights = weight.to(device).repeat(many, 1, 1).requires_grad_()
        return weights, torch.zeros(many, 1, out, device=device, requires_grad=True)

    parameters = [*layer(d, width), *layer(width, k)]

    def logits(x: Tensor) -> Tensor:
        hidden = torch.relu(torch.baddbmm(parameters[1], x, parameters[0]))
        return torch.baddbmm(parameters[3], hidden, parameters[2])

    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.01)
    warm = max(1, steps // 10)
    limit = torch.tensor(sizes)[:, None]
    for step in range(steps):
        rate = min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = 3e-3 * rate
        rows = (torch.rand(many, 128, generator=generator) * limit).long().to(device)
        loss = torch.nn.functional.cross_entropy(
            logits(x[rows]).reshape(-1, k), y[rows].reshape(-1), reduction="sum"
        )
        optimizer.zero_grad()
        (loss / 128).backward()
        optimizer.step()
    test = torch.from_numpy(task.x_test).to(device)
    truth = torch.from_numpy(task.y_test).to(device)
    wrong = torch.zeros(many, device=device)
    with torch.no_grad():
        for part, labels in zip(test.split(2000), truth.split(2000), strict=True):
            guess = logits(part.expand(many, -1, -1)).argmax(2)
            wrong += (guess != labels).sum(1)
    return np.asarray((wrong / len(truth)).double().cpu())


def forest(
    task: Task, trees: int, sizes: Sequence[int], seed: int, device: str, steps: int
) -> FloatArray:
    """A random forest with scikit-learn's defaults and ``trees`` trees."""
    from sklearn.ensemble import RandomForestClassifier

    errors = []
    for n in sizes:
        model = RandomForestClassifier(trees, random_state=seed).fit(task.x[:n], task.y[:n])
        errors.append(float(np.mean(model.predict(task.x_test) != task.y_test)))
    return np.array(errors)


Learner = Callable[[Task, int, Sequence[int], int, str, int], FloatArray]
LEARNERS: dict[str, Learner] = {
    "random features": random_features,
    "perceptron": perceptron,
    "forest": forest,
}
