"""A budget divided between encoder and decoder, in parameters and in whole layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]


class LossOfSizes(Protocol):
    """Loss as a function of both sizes: a law, or a mixture of laws."""

    def __call__(self, N_e: ArrayLike, N_d: ArrayLike) -> NDArray[np.float64]:
        """Loss at these sizes."""
        ...


@dataclass(frozen=True)
class Split:
    """The best division of a budget of parameters.

    Attributes
    ----------
    budget : float
        Parameters of both together.
    share : float
        The encoder's share of them.
    encoder, decoder : float
        Parameters of each.
    loss : float
        What the law says of that model.
    share_interval, loss_interval : (low, high), or None
        Over resampled runs; None where the law was made from constants.
    """

    budget: float
    share: float
    encoder: float
    decoder: float
    loss: float
    share_interval: Interval | None = None
    loss_interval: Interval | None = None


@dataclass(frozen=True)
class LayerChoice:
    """Whole layers: their numbers, their parameters, and the law's loss."""

    encoder_layers: int
    decoder_layers: int
    encoder: float
    decoder: float
    loss: float


def best_layers(
    law: LossOfSizes, budget: float, encoder_layer: float, decoder_layer: float
) -> LayerChoice:
    """The whole numbers of layers within a budget that give the least loss.

    For each depth of the encoder the decoder takes all that is left, since no law here rises with a
    size. Cost: one evaluation of the law at ``budget / encoder_layer`` points.
    """
    for name, value in (
        ("budget", budget),
        ("encoder_layer", encoder_layer),
        ("decoder_layer", decoder_layer),
    ):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value}")
    # A hair, so that a budget made by multiplying pays for what it was made of.
    deepest = math.floor((budget * (1 + 1e-12) - decoder_layer) / encoder_layer)
    if deepest < 1:
        raise ValueError(
            f"a budget of {budget:g} does not pay for one layer of each, "
            f"{encoder_layer + decoder_layer:g}"
        )
    if deepest > 10_000_000:
        raise ValueError(
            f"a budget of {budget:g} is {deepest:,} layers of {encoder_layer:g}; are both in the "
            "same unit?"
        )
    encoders = np.arange(1, deepest + 1)
    left = budget * (1 + 1e-12) - encoders * encoder_layer
    decoders = np.floor(left / decoder_layer)
    loss = law(encoders * encoder_layer, decoders * decoder_layer)
    at = int(np.argmin(loss))
    e, d = int(encoders[at]), int(decoders[at])
    return LayerChoice(e, d, e * encoder_layer, d * decoder_layer, float(loss[at]))
