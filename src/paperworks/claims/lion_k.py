"""What the paper of Lion-kappa says: where Lion ends, and how fast it comes into its box.

The paper's theory is about full gradients, so both convex problems here use them. Every contender
starts at the same point outside the box, takes the same number of steps along the same cosine
schedule, and has five step sizes to choose from; the one with the lowest loss at the nearest point
of the box is taken. Adam-like methods move by about the step size, so that theirs are parts of the
box; projected gradient's are multiples of 1/L. The true optimum comes from SciPy's L-BFGS-B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.training.lion_k import LionK

PAPER = "lion-k"
TOLERANCE, PROJECTED = "one part in a thousand", "projected gradient"
ADAMW, PROJECTED_ADAM = "AdamW, same weight decay", "Adam + projection"
STEP_SIZES = (0.1, 0.03, 0.01, 0.003, 0.001)  # of the box's half width
MULTIPLES = (4.0, 2.0, 1.0, 0.5, 0.25)  # of 1 / L
FLOOR = 1e-10  # what L-BFGS-B itself can be held to


@dataclass(frozen=True)
class Problem:
    """A convex problem in d weights, under ``|x_i| <= bound``.

    ``value`` and ``gradient`` take many points at once, one per column of a (d, k) matrix.
    """

    dim: int
    bound: float
    lipschitz: float
    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]


def make_problem(name: str, rng: np.random.Generator) -> Problem:
    """One of the problems on embedded or real data, on a random four fifths of its rows."""
    import sklearn.datasets

    if name == "mnist":
        import paperworks.data

        images = paperworks.data.load("mnist")
        rows = rng.choice(len(images.x_train), 4000, replace=False)
        x = images.x_train[rows].reshape(len(rows), -1) / 255.0
        return logistic(x - x.mean(0), images.y_train[rows] % 2, bound=0.05)
    load = {
        "breast-cancer": sklearn.datasets.load_breast_cancer,
        "diabetes": sklearn.datasets.load_diabetes,
    }[name]
    x, y = load(return_X_y=True)
    rows = rng.permutation(len(y))[: 4 * len(y) // 5]
    x, y = x[rows], y[rows]
    x = (x - x.mean(0)) / x.std(0)
    if name == "diabetes":
        return least_squares(x, (y - y.mean()) / y.std(), bound=0.2)
    return logistic(x, y, bound=0.25)


def logistic(x: Any, y: Any, bound: float) -> Problem:
    """Mean logistic loss of labels 0 and 1."""
    signed = torch.from_numpy(np.where(y > 0, x.T, -x.T).T.copy())

    def value(w: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-(signed @ w)).mean(0)

    def gradient(w: Tensor) -> Tensor:
        return -(signed.T @ torch.sigmoid(-(signed @ w))) / len(signed)

    smooth = float(torch.linalg.matrix_norm(signed, 2)) ** 2 / (4 * len(signed))
    return Problem(signed.shape[1], bound, smooth, value, gradient)


def least_squares(x: Any, y: Any, bound: float) -> Problem:
    """Half the mean squared error."""
    a, b = torch.from_numpy(x), torch.from_numpy(y)[:, None]

    def value(w: Tensor) -> Tensor:
        return (a @ w - b).square().mean(0) / 2

    def gradient(w: Tensor) -> Tensor:
        return a.T @ (a @ w - b) / len(a)

    smooth = float(torch.linalg.matrix_norm(a, 2)) ** 2 / len(a)
    return Problem(a.shape[1], bound, smooth, value, gradient)


def optimum(problem: Problem) -> float:
    """The least value in the box."""
    from scipy.optimize import minimize

    def both(w: Any) -> tuple[float, Any]:
        column = torch.from_numpy(w)[:, None]
        return float(problem.value(column)), problem.gradient(column)[:, 0].numpy()

    found = minimize(
        both,
        np.zeros(problem.dim),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-problem.bound, problem.bound)] * problem.dim,
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 20_000, "maxfun": 40_000},
    )
    return float(found.fun)


def contender(label: str, problem: Problem, columns: list[Parameter]) -> Any:
    """The optimizer called ``label``, with one step size per column."""
    decay, width = 1 / problem.bound, problem.bound

    def groups(sizes: Sequence[float]) -> list[dict[str, Any]]:
        return [{"params": [p], "lr": lr} for p, lr in zip(columns, sizes, strict=True)]

    parts = [part * width for part in STEP_SIZES]
    if label == "Lion":
        return LionK(groups(parts), weight_decay=decay)
    if label == ADAMW:
        return torch.optim.AdamW(groups(parts), weight_decay=decay, foreach=True)
    if label == PROJECTED_ADAM:
        return torch.optim.Adam(groups(parts), foreach=True)
    return torch.optim.SGD(groups([part / problem.lipschitz for part in MULTIPLES]), foreach=True)


def run(
    label: str, problem: Problem, start: Tensor, best: float, steps: int
) -> tuple[float, Curve]:
    """The final gap of the best of its step sizes, and the gap along the way."""
    columns = [Parameter(start.clone()) for _ in STEP_SIZES]
    optimizer = contender(label, problem, columns)
    scale = float(problem.value(torch.zeros(problem.dim, 1, dtype=torch.float64))) - best
    base = [group["lr"] for group in optimizer.param_groups]
    every = max(1, steps // 100)
    gaps, losses, at = [], torch.empty(0), []
    for step in range(steps + 1):
        x = torch.stack([p.detach() for p in columns], 1)
        if step % every == 0 or step == steps:
            inside = x.clamp(-problem.bound, problem.bound)
            losses = problem.value(inside)
            outside = (x - inside).abs().amax(0) / problem.bound
            gaps.append(((losses - best) / scale).clamp_min(FLOOR) + outside)
            at.append(step)
        if step == steps:
            break
        gradients = problem.gradient(x)
        for i, group in enumerate(optimizer.param_groups):
            columns[i].grad = gradients[:, i].contiguous()
            group["lr"] = base[i] * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
        if label in (PROJECTED, PROJECTED_ADAM):
            with torch.no_grad():
                for p in columns:
                    p.clamp_(-problem.bound, problem.bound)
    chosen = int(losses.argmin())
    return float(gaps[-1][chosen]), Curve(label, at, [float(gap[chosen]) for gap in gaps])


def solve(
    *, seed: int, device: str, problem: str, labels: Sequence[str], steps: int
) -> TrialResult:
    """Lion and ``labels`` on one problem; on the CPU, where such small problems are fastest."""
    rng = np.random.default_rng(seed)
    task = make_problem(problem, rng)
    start = torch.from_numpy(rng.normal(size=task.dim) * 2 * task.bound)
    best = optimum(task)
    values, curves = {TOLERANCE: 1e-3}, []
    for label in ("Lion", *labels):
        values[label], curve = run(label, task, start, best, steps)
        curves.append(curve)
    return TrialResult(values, curves)


def rate(*, seed: int, device: str, work: str) -> TrialResult:
    """The slowest rate, in units of lambda, at which training comes into the box."""
    torch_seed = torch.Generator().manual_seed(seed)
    x, y, decay, lr, width, epochs = _network_data(work, seed)
    shapes = [(width, x.shape[1]), (width,), (int(y.max()) + 1, width), (int(y.max()) + 1,)]
    # Three times the box: weights that all have to come in.
    params = [
        Parameter((3 / decay * torch.randn(shape, generator=torch_seed)).to(device).double())
        for shape in shapes
    ]
    x, y = x.to(device), y.to(device)
    optimizer = LionK(params, lr, weight_decay=decay)
    start = distance = optimizer.distance()
    slowest, step = math.inf, 0
    times, distances = [0.0], [1.0]
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=torch_seed).split(128):
            hidden = torch.relu(torch.nn.functional.linear(x[batch], params[0], params[1]))
            scores = torch.nn.functional.linear(hidden, params[2], params[3])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores, y[batch]).backward()
            optimizer.step()
            step += 1
            previous, distance = distance, optimizer.distance()
            if previous > 1e-9 * start:  # below, rounding
                fall = math.log(previous / max(distance, 1e-12 * start))
                slowest = min(slowest, fall / (lr * decay))
            times.append(step * lr * decay)
            distances.append(max(distance / start, 1e-12))
    curves = [
        Curve("Lion", times, distances),
        Curve("exp(-lambda t)", times, [math.exp(-t) for t in times]),
    ]
    return TrialResult({"Lion": slowest, "exp(-lambda t)": 1.0}, curves)


def _network_data(work: str, seed: int) -> tuple[Tensor, Tensor, float, float, int, int]:
    import paperworks.data

    options: dict[str, Any] = {"seed": seed} if work == "digits" else {}
    data = paperworks.data.load(work, **options)
    x = torch.from_numpy(data.x_train.reshape(len(data.x_train), -1).astype(np.float64))
    y = torch.from_numpy(data.y_train)
    x = x / x.max()
    return (
        (x, y, 2.0, 2e-3, 32, 30)
        if work == "digits"
        else (x[:20_000], y[:20_000], 2.0, 2e-3, 128, 10)
    )


QUICK_PROBLEMS = ("breast-cancer", "diabetes")
FULL_PROBLEMS = ("breast-cancer", "diabetes", "mnist")
GAP = (
    "gap to the optimum in the box, as a part of what a zero start has to gain, plus how far a "
    "weight lies outside, in half widths of the box"
)


def _works(names: Sequence[str], labels: Sequence[str], steps: int) -> list[dict[str, Any]]:
    return [{"problem": name, "labels": list(labels), "steps": steps} for name in names]


_RIVALS = (ADAMW, PROJECTED_ADAM, PROJECTED)

CLAIMS = (
    Claim(
        paper=PAPER,
        name="solves-the-bounded-problem",
        statement=(
            "Lion with weight decay lambda minimizes the loss under |x|_inf <= 1/lambda: with full "
            "gradients and a step that falls to zero it ends within a thousandth of the optimum."
        ),
        metric=GAP,
        better="lower",
        ours="Lion",
        contenders=(TOLERANCE,),
        effect=Effect("ratio", 1.0),
        trial=solve,
        quick=Tier(_works(QUICK_PROBLEMS, (), 500), seeds=5),
        full=Tier(_works(FULL_PROBLEMS, (), 2000), seeds=10, timeout=300),
        axes=Axes("step", "gap", y_scale="log"),
    ),
    Claim(
        paper=PAPER,
        name="beside-projection",
        statement=(
            "At equal steps and equal tuning Lion ends nearer to the optimum in the box than the "
            "field's own ways: AdamW with the same weight decay, Adam with projection, "
            "projected gradient. The paper does not say so; whoever has such a problem asks."
        ),
        metric=GAP,
        better="lower",
        ours="Lion",
        contenders=_RIVALS,
        effect=Effect("ratio", 1.0),
        trial=solve,
        quick=Tier(_works(QUICK_PROBLEMS, _RIVALS, 500), seeds=5),
        full=Tier(_works(FULL_PROBLEMS, _RIVALS, 2000), seeds=10, timeout=600),
        axes=Axes("step", "gap", y_scale="log"),
    ),
    Claim(
        paper=PAPER,
        name="comes-in-exponentially",
        statement=(
            "Weights outside the box are drawn in at least as fast as exp(-lambda t), whatever the "
            "gradients are: at no step of training a network is the rate below lambda."
        ),
        metric="slowest rate at which the distance to the box falls, in units of lambda",
        better="higher",
        ours="Lion",
        contenders=("exp(-lambda t)",),
        effect=Effect("ratio", 1.0),
        trial=rate,
        quick=Tier([{"work": "digits"}], seeds=5),
        full=Tier([{"work": "digits"}, {"work": "mnist"}], seeds=5, timeout=600),
        axes=Axes("lambda t", "distance to the box, of that at the start", y_scale="log"),
    ),
)
