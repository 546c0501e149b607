"""The conditional quantization-aware accuracy predictor (section 3.5, equation 9).

``accuracy = MLP(granularity, symmetries, bits of weights and inputs)``, with the choices of every
layer in binary code: 20 zeros and ones a layer, so that one predictor serves all granularities and
symmetries. The network is scikit-learn's; three hidden layers of 200 suit a few hundred measured
settings (the authors: 8000 of them, seven layers).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple

import numpy as np
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from paperworks.compression.eq_net.convert import choose, chosen, elastic_layers
from paperworks.compression.eq_net.forms import ALL_BITS, Form, Setting

TILT = 1.0  # how uneven the bits of a random setting may be drawn


def sample_settings(
    model: nn.Module, count: int, rng: np.random.Generator, *, form: str | Form | None = None
) -> list[Setting]:
    """Settings of mixed precision, drawn so that small and large networks both occur.

    Each setting has one granularity and symmetry for all layers and bits of their own for each.
    Even draws would all have about five bits on average; here each setting prefers high or low
    bits by a factor of its own, up to e a bit.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`.
    count : int
    rng : numpy Generator
    form : str or Form, optional
        Takes granularity and symmetries from it; by default they are drawn too.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, sample_settings
    >>> model = ElasticQuantization()(nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)]))
    >>> settings = sample_settings(model, 2, np.random.default_rng(0), form="w8a8-tensor")
    >>> settings[0]["1"].per_channel, len(settings)
    (False, 2)
    """
    layers = elastic_layers(model)
    settings = []
    for _ in range(count):
        first = next(iter(layers.values())).space
        condition = astuple(first.random(rng) if form is None else Form.parse(form))[2:]
        tilts = rng.uniform(-TILT, TILT, 2)
        setting = {}
        for name, layer in layers.items():
            bits = []
            for choices, tilt in zip(layer.space.choices(), tilts, strict=False):
                weights = np.exp(tilt * np.array(choices))
                bits.append(int(rng.choice(choices, p=weights / weights.sum())))
            setting[name] = Form(bits[0], bits[1], *condition)
        settings.append(setting)
    return settings


def measure(
    model: nn.Module,
    settings: Iterable[Setting],
    evaluate: Callable[[nn.Module], float],
    *,
    batches: Sequence[Tensor] = (),
) -> np.ndarray:
    """What ``evaluate`` says of the model in each setting: the data for the predictor.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`. In the end it is as it was.
    settings : iterable of mappings from layer names to forms
    evaluate : callable
        Takes the model, returns its accuracy, as a fraction. The paper takes a part of the
        training set.
    batches : sequence of Tensor
        Inputs to calibrate batch normalisation with before each evaluation; needed where the
        model has any.

    Returns
    -------
    (settings,) float64

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, measure, sample_settings
    >>> model = ElasticQuantization()(nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)]))
    >>> settings = sample_settings(model, 3, np.random.default_rng(0))
    >>> measure(model, settings, lambda model: model[1].form.weight_bits / 8).shape
    (3,)
    """
    before, found = chosen(model), []
    # Buffers hold the statistics of batch normalisation.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for setting in settings:
        choose(model, setting)
        update_bn(batches, model)
        found.append(float(evaluate(model)))
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    choose(model, before)
    return np.array(found)


class AccuracyPredictor:
    """Predicts the accuracy of any setting of a supernet, from some that were measured.

    Parameters
    ----------
    hidden : sequence of int
        Sizes of the hidden layers.
    epochs : int
        Of training at most, with Adam.
    seed : int
        Of the initial weights and the order of the data.

    Notes
    -----
    A prediction takes some microseconds where many are made at once, an evaluation a pass over
    the data. Check with :meth:`rank_correlation` on settings that it was not fitted to.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import (
    ...     AccuracyPredictor, ElasticQuantization, sample_settings
    ... )
    >>> model = ElasticQuantization()(nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)]))
    >>> settings = sample_settings(model, 150, np.random.default_rng(0))
    >>> accuracies = [0.5 + setting["1"].weight_bits / 20 for setting in settings]
    >>> predictor = AccuracyPredictor(hidden=(64,)).fit(settings[:100], accuracies[:100])
    >>> predictor.rank_correlation(settings[100:], accuracies[100:]) > 0.8
    True
    """

    def __init__(
        self, hidden: Sequence[int] = (200, 200, 200), *, epochs: int = 100, seed: int = 0
    ) -> None:
        self.hidden, self.epochs, self.seed = tuple(hidden), epochs, seed
        self.names: tuple[str, ...] = ()

    def fit(self, settings: Sequence[Setting], accuracies: Sequence[float]) -> AccuracyPredictor:
        """Learn from measured settings; returns itself.

        Raises
        ------
        ValueError
            If there are fewer than two, not as many of both, or an accuracy is not finite.
        """
        # Imported late: it takes seconds, and only a search needs it.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
        from threadpoolctl import threadpool_limits

        y = np.asarray(accuracies, float)
        if len(y) != len(settings) or len(y) < 2 or not np.isfinite(y).all():
            raise ValueError(
                f"needs two or more settings and a finite accuracy for each, got {len(settings)} "
                f"settings and accuracies {y}"
            )
        self.names = tuple(settings[0])
        self._mean, self._deviation = y.mean(), y.std() or 1.0
        self._mlp = MLPRegressor(
            hidden_layer_sizes=self.hidden,
            batch_size=min(32, len(y)),
            max_iter=self.epochs,
            random_state=self.seed,
        )
        # Matrices this small are slower on many threads.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs, no more
            self._mlp.fit(binary(self._array(settings)), (y - self._mean) / self._deviation)
        return self

    def predict(self, settings: Sequence[Setting]) -> np.ndarray:
        """The accuracies ``(settings,)``.

        Raises
        ------
        ValueError
            Before :meth:`fit`, or if the settings are those of other layers.
        """
        return self.predict_array(self._array(settings))

    def predict_array(self, array: np.ndarray) -> np.ndarray:
        """The same for settings as in :func:`as_array`."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            scores = self._mlp.predict(binary(array))
        return scores * self._deviation + self._mean

    def rank_correlation(self, settings: Sequence[Setting], accuracies: Sequence[float]) -> float:
        """Kendall's tau of predicted and measured accuracies: 1 where the order is right."""
        from scipy.stats import kendalltau

        return float(kendalltau(self.predict(settings), accuracies).statistic)

    def _array(self, settings: Sequence[Setting]) -> np.ndarray:
        if not self.names:
            raise ValueError("the predictor has learned nothing yet: call fit first")
        for setting in settings:
            if tuple(setting) != self.names:
                raise ValueError(
                    f"the predictor knows the layers {list(self.names)}, got {list(setting)}"
                )
        return as_array(settings)


def as_array(settings: Sequence[Setting]) -> np.ndarray:
    """Settings as (settings, layers, 5) integers, in the order of :class:`Form`'s fields."""
    return np.array([[astuple(form) for form in setting.values()] for setting in settings], int)


def binary(array: np.ndarray) -> np.ndarray:
    """In binary code: (settings, 20 * layers), one column for each choice of each layer."""
    bits = array[..., :2, None] == np.array(ALL_BITS)
    flags = array[..., 2:, None] == np.arange(2)
    return np.concatenate([part.reshape(len(array), -1) for part in (bits, flags)], 1).astype(float)
