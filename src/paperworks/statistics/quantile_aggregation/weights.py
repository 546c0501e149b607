"""The weights of the base models: global or a network of x; coarse, medium or fine over levels.

Fakoor et al. (arXiv 2103.00083), section 3. With P[i, j, t] the quantile of level t that model j
predicts for row i, and weights from a softmax, so that they are positive and sum to one:

    coarse  q[i, t] = sum_j    w[j]       P[i, j, t]      one weight for a model
    medium  q[i, t] = sum_j    w[j, t]    P[i, j, t]      one for a model and a level
    fine    q[i, t] = sum_j,s  w[j, s, t] P[i, j, s]      one for a model and a pair of levels

Global weights are parameters; local ones come out of a network of x (equation 17).

Departures. Training starts near the plain average, at every resolution: where the authors begin
fine weights at 1 / (p m), the mean of all quantiles, here nine tenths of the weight of level t lie
on level t of the models. Local weights are a network's output added to global logits, and are
learned in two stages: the global logits alone, then all; so they begin where global weights end,
and on the rows held out they never do worse. The parameters kept are those of the best epoch; the
authors train anew for as many steps.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from paperworks.statistics.quantile_aggregation.crossing import (
    Operator,
    crossing_penalty,
    uncross,
    uncross_tensor,
)
from paperworks.statistics.quantile_aggregation.levels import FloatArray
from paperworks.statistics.quantile_aggregation.training import (
    Course,
    Schedule,
    linear,
    pinball_mean,
    split_rows,
    train,
    trunk,
)

Resolution = Literal["coarse", "medium", "fine"]
RESOLUTIONS: tuple[Resolution, ...] = ("coarse", "medium", "fine")

_OWN_LEVEL = 0.9  # share of a fine weight's start that lies on the level itself
_GLOBAL_STEP = 10  # logits have far to go: a weight of 1 % is 4.6 from one of a half


class WeightModel(nn.Module):
    """Softmax weights of ``models`` base models at ``levels`` quantile levels.

    ``features`` is the number of inputs of local weights, or None for global ones.
    """

    def __init__(
        self,
        models: int,
        levels: int,
        resolution: Resolution,
        features: int | None,
        hidden: int,
        layers: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.models, self.levels, self.resolution = models, levels, resolution
        shapes = {
            "coarse": (models, 1),
            "medium": (models, levels),
            "fine": (models * levels, levels),
        }
        self.shape = shapes[resolution]
        start = torch.zeros(self.shape)
        if resolution == "fine" and levels > 1:
            own = math.log(_OWN_LEVEL / (1 - _OWN_LEVEL) * (levels - 1))
            start.view(models, levels, levels)[:] = own * torch.eye(levels)
        self.logits = nn.Parameter(start)
        self.network: nn.Sequential | None = None
        self.stage = "global"
        if features is not None:
            head = linear(hidden, self.logits.numel(), generator)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.network = nn.Sequential(*trunk(features, hidden, layers, generator), head)

    def weights(self, x: Tensor | None) -> Tensor:
        """``(n, inputs, outputs)``, or ``(1, ...)`` where global; sums to 1 over inputs."""
        logits = self.logits[None]
        if self.stage == "local" and self.network is not None:
            assert x is not None
            logits = logits + self.network(x).view(-1, *self.shape)
        return logits.softmax(dim=1)

    def forward(self, predictions: Tensor, x: Tensor | None) -> Tensor:
        """Aggregated quantiles ``(n, m)`` of ``predictions`` (n, p, m)."""
        weights = self.weights(x)
        if self.resolution == "fine":
            # (n, 1, p m) @ (n or 1, p m, m)
            return (predictions.flatten(1)[:, None] @ weights)[:, 0]
        return (predictions * weights).sum(dim=1)


class Aggregate:
    """A trained weight model with its units: y and the predictions scaled, x standardised.

    Parameters are those of :class:`QuantileAggregator`; ``X`` is None for global weights.
    """

    def __init__(
        self,
        predictions: FloatArray,
        y: FloatArray,
        X: FloatArray | None,
        levels: FloatArray,
        resolution: Resolution,
        hidden: int,
        layers: int,
        operator: Operator | None,
        through: bool,
        penalty: float,
        margins: FloatArray,
        schedule: Schedule,
        generator: torch.Generator,
    ) -> None:
        self.operator, self.levels = operator, levels
        self.centre, self.scale = float(y.mean()), float(y.std()) or 1.0
        self.x_centre = self.x_scale = None
        if X is not None:
            spread = X.std(axis=0)
            self.x_centre, self.x_scale = X.mean(axis=0), np.where(spread > 0, spread, 1.0)
        p, x = self._scaled(predictions, X)
        target = torch.from_numpy((y - self.centre) / self.scale).float()
        tau = torch.from_numpy(levels).float()
        gaps = torch.from_numpy(margins).float()
        features = None if X is None else X.shape[1]
        self.model = model = WeightModel(
            predictions.shape[1], len(levels), resolution, features, hidden, layers, generator
        )
        rows, held = split_rows(len(y), schedule.validation_fraction, generator)

        def loss(batch: Tensor) -> Tensor:
            q = model(p[batch], None if x is None else x[batch])
            # The penalty is on the quantiles as they come out, before any operator.
            extra = penalty * crossing_penalty(q, gaps) if penalty > 0 else 0.0
            if through and operator is not None:
                q = uncross_tensor(q, operator)
            return pinball_mean(q, target[batch], tau) + extra

        def validate() -> Tensor:
            q = model(p[held], None if x is None else x[held])
            if operator is not None:
                q = uncross_tensor(q, operator)
            return pinball_mean(q, target[held], tau)

        name = "QuantileAggregator's weights"
        far = replace(schedule, lr=_GLOBAL_STEP * schedule.lr)
        self.courses: list[Course] = [
            train([model.logits], model, loss, validate, rows, far, generator, name)
        ]
        if X is not None:
            model.stage = "local"
            self.courses.append(
                train(
                    list(model.parameters()), model, loss, validate, rows, schedule, generator, name
                )
            )

    def _scaled(
        self, predictions: FloatArray, X: FloatArray | None
    ) -> tuple[Tensor, Tensor | None]:
        p = torch.from_numpy((predictions - self.centre) / self.scale).float()
        if self.x_centre is None:
            return p, None
        assert X is not None
        return p, torch.from_numpy((X - self.x_centre) / self.x_scale).float()

    def raw(self, predictions: FloatArray, X: FloatArray | None) -> FloatArray:
        """Weighted quantiles ``(n, m)`` in y's unit, which may cross."""
        found = np.empty((len(predictions), len(self.levels)))
        for part in _chunks(len(predictions), self.model.logits.numel()):
            weights = self.weights(None if X is None else X[part])
            P = predictions[part]
            if self.model.resolution == "fine":
                weights = weights.reshape(-1, P.shape[1] * P.shape[2], P.shape[2])
                found[part] = (P.reshape(len(P), 1, -1) @ weights)[:, 0]
            else:
                found[part] = (P * weights).sum(axis=1)
        return found

    def quantiles(self, predictions: FloatArray, X: FloatArray | None) -> FloatArray:
        """Weighted quantiles ``(n, m)``, in order where an operator was asked for."""
        found = self.raw(predictions, X)
        return found if self.operator is None else uncross(found, self.operator)

    def weights(self, X: FloatArray | None) -> FloatArray:
        """Weights as float64 that sum to 1: ``(1 or n, p, 1 or m)``, or ``(1 or n, p, m, m)``."""
        x = None
        if self.x_centre is not None:
            assert X is not None
            x = torch.from_numpy((X - self.x_centre) / self.x_scale).float()
        with torch.no_grad():
            weights = self.model.weights(x).double().numpy()
        weights /= weights.sum(axis=1, keepdims=True)
        if self.model.resolution == "fine":
            return weights.reshape(-1, self.model.models, self.model.levels, self.model.levels)
        return weights


def _chunks(rows: int, numbers: int, at_most: int = 20_000_000) -> list[slice]:
    """Slices of rows whose weights, ``numbers`` a row, fit in memory."""
    step = max(at_most // max(numbers, 1), 1)
    return [slice(start, start + step) for start in range(0, rows, step)]
