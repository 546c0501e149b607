"""Mixed precision within a budget: a genetic search over the predictor (section 3.5).

Genes are the bits of every layer's weight and input; granularity and symmetry are given. Each
generation keeps the best quarter; half of the rest are mutations of them, half crossovers, as in
the authors' code. What costs too much is repaired, by taking a bit width down at random until it
fits; the authors draw anew until one fits, which does not end where the budget is tight.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from torch import nn

from paperworks.compression.eq_net.convert import chosen, elastic_layers
from paperworks.compression.eq_net.forms import Form, Setting
from paperworks.compression.eq_net.predictor import AccuracyPredictor, as_array
from paperworks.compression.packed import padded_size
from paperworks.compression.running import weight_uses


@dataclass(frozen=True)
class SettingCost:
    """What a setting takes.

    ``size`` in bytes: the packed weights of the elastic layers with their scales, as
    :func:`export_subnet` writes them. ``bit_operations`` for one example: multiply-adds times
    bits of the weight times bits of the input.
    """

    size: int
    bit_operations: int


@dataclass(frozen=True)
class SearchResult:
    """What a search found: see :func:`search_precision`.

    ``setting`` goes to :func:`choose`; ``accuracy`` is the predicted one; ``cost`` its
    :class:`SettingCost`; ``history`` the best predicted accuracy of each generation, the first
    population's first.

    Examples
    --------
    >>> SearchResult({"0": Form(2, 4)}, 0.9, SettingCost(100, 800), (0.8, 0.9)).cost.size
    100
    """

    setting: Setting
    accuracy: float
    cost: SettingCost
    history: tuple[float, ...]


class Costs:
    """Size and bit operations of many settings at once, as arrays of :func:`as_array`."""

    def __init__(self, model: nn.Module, example: object) -> None:
        layers = elastic_layers(model)
        weights = [layer.weight for layer in layers.values()]
        self.out = np.array([len(weight) for weight in weights])
        self.byte_per_bit = np.array([padded_size(weight.shape) // 8 for weight in weights])
        uses = weight_uses(model, example)
        missing = [name for name in layers if name not in uses]
        if missing:
            raise ValueError(f"{missing[0]} did not run on the example, so its cost is not known")
        self.multiply_adds = np.array(
            [uses[name] * layer.weight.numel() for name, layer in layers.items()]
        )

    def size(self, array: np.ndarray) -> np.ndarray:
        """Bytes of each setting."""
        bits, symmetric = array[..., 0], array[..., 3]
        table_and_scales = 4 * 2**bits + 4 * self.out * (2 - symmetric)
        return (self.byte_per_bit * bits + table_and_scales).sum(-1)

    def bit_operations(self, array: np.ndarray) -> np.ndarray:
        """Bit operations of each setting."""
        return (self.multiply_adds * array[..., 0] * array[..., 1]).sum(-1)


def setting_cost(model: nn.Module, example: object, setting: Setting | None = None) -> SettingCost:
    """Bytes and bit operations of a setting.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`. It runs once, to see how often each weight is used.
    example : Tensor, tuple or dict
        One example as a batch of one, as the forward takes it.
    setting : mapping of layer names to forms, optional
        By default the one that the model is in.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, choose, setting_cost
    >>> model = ElasticQuantization(edge_bits=None)(nn.Sequential(nn.Linear(64, 10)))
    >>> setting_cost(choose(model, "w2a4"), torch.ones(1, 64))
    SettingCost(size=216, bit_operations=5120)
    """
    array = as_array([{**chosen(model), **(setting or {})}])
    costs = Costs(model, example)
    return SettingCost(int(costs.size(array)[0]), int(costs.bit_operations(array)[0]))


def search_precision(
    model: nn.Module,
    predictor: AccuracyPredictor,
    example: object,
    rng: np.random.Generator,
    *,
    size: float | None = None,
    bit_operations: float | None = None,
    form: str | Form = "w8a8",
    population: int = 100,
    generations: int = 500,
    mutation: float = 0.1,
) -> SearchResult:
    """The setting of the highest predicted accuracy within a budget.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`; it is not changed.
    predictor : AccuracyPredictor
        Fitted to settings of this model.
    example : Tensor, tuple or dict
        One example as a batch of one.
    rng : numpy Generator
    size : float, optional
        Bytes of the packed weights at most.
    bit_operations : float, optional
        For one example at most: see :class:`SettingCost`. One of the two, or both, is given.
    form : str or Form
        Its granularity and symmetries, which the hardware dictates, hold for all layers.
    population, generations : int
        100 and 500, as in the paper.
    mutation : float
        The probability that a gene mutates.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError
        If no budget is given, or the cheapest setting is beyond it.

    Notes
    -----
    ``population * generations`` predictions and as many sums over the layers; no evaluation.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import (
    ...     AccuracyPredictor, ElasticQuantization, sample_settings, search_precision
    ... )
    >>> rng = np.random.default_rng(0)
    >>> model = ElasticQuantization()(nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)]))
    >>> settings = sample_settings(model, 100, rng)
    >>> useful = [setting["1"].weight_bits / 8 for setting in settings]  # others do not count
    >>> predictor = AccuracyPredictor(hidden=(64,)).fit(settings, useful)
    >>> found = search_precision(
    ...     model, predictor, torch.ones(1, 64), rng, size=16_000, generations=20
    ... )
    >>> found.setting["1"].weight_bits > found.setting["2"].weight_bits, found.cost.size <= 16_000
    (True, True)
    """
    if size is None and bit_operations is None:
        raise ValueError("a search needs a budget: give size (bytes), bit_operations, or both")
    form = Form.parse(form)
    layers = elastic_layers(model)
    genome = _Genome(model, example, form, size, bit_operations)
    genes = genome.repaired(genome.random(population, rng), rng)
    history, elite = [], max(1, population // 4)
    for generation in range(generations + 1):
        scores = predictor.predict_array(genome.array(genes))
        order = np.argsort(-scores, kind="stable")
        history.append(float(scores[order[0]]))
        if generation == generations:
            break
        parents = genes[order[:elite]]
        mutants, crossed = population // 2, population - elite - population // 2
        children = parents[rng.integers(elite, size=(mutants + 2 * crossed))]
        changes = rng.random((mutants, genes.shape[1])) < mutation
        mutated = np.where(changes, genome.random(mutants, rng), children[:mutants])
        one, other = children[mutants : mutants + crossed], children[mutants + crossed :]
        mixed = np.where(rng.random(one.shape) < 0.5, one, other)
        genes = np.concatenate([parents, genome.repaired(np.concatenate([mutated, mixed]), rng)])
    best = genome.array(genes[order[:1]])
    bits = best[0, :, :2].tolist()
    setting = {
        name: Form(*pair, *astuple(form)[2:]) for name, pair in zip(layers, bits, strict=True)
    }
    cost = SettingCost(*(int(each[0]) for each in genome.cost(best)))
    return SearchResult(setting, history[-1], cost, tuple(history))


class _Genome:
    """Settings as genes: for each layer the place of its bits among its choices, (layers * 2)."""

    def __init__(
        self,
        model: nn.Module,
        example: object,
        form: Form,
        size: float | None,
        bit_operations: float | None,
    ) -> None:
        layers = elastic_layers(model)
        for name, layer in layers.items():
            bits = layer.space.weight_bits[0], layer.space.activation_bits[0]
            if Form(*bits, *astuple(form)[2:]) not in layer.space:
                raise ValueError(f"{name} has no form like {form}; it has {layer.space}")
        choices = [values for layer in layers.values() for values in layer.space.choices()[:2]]
        self.counts = np.array([len(values) for values in choices])
        self.table = np.zeros((len(choices), self.counts.max()), int)
        for row, values in zip(self.table, choices, strict=True):
            row[: len(values)] = values
        self.condition = np.array(astuple(form)[2:], int)
        self.costs = Costs(model, example)
        infinite = float("inf")
        self.limits = (
            infinite if size is None else size,
            infinite if bit_operations is None else bit_operations,
        )
        least = self.cost(self.array(np.zeros((1, len(choices)), int)))
        for what, value, limit in zip(("size", "bit_operations"), least, self.limits, strict=True):
            if value[0] > limit:
                raise ValueError(
                    f"{what}={limit:,g} cannot be met: with the fewest bits in every layer it is "
                    f"{value[0]:,}"
                )

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(self.counts, size=(count, len(self.counts)))

    def array(self, genes: np.ndarray) -> np.ndarray:
        bits = self.table[np.arange(len(self.counts)), genes].reshape(len(genes), -1, 2)
        conditions = np.broadcast_to(self.condition, (*bits.shape[:2], 3))
        return np.concatenate([bits, conditions], -1)

    def cost(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.costs.size(array), self.costs.bit_operations(array)

    def repaired(self, genes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        genes = genes.copy()
        while True:
            size, operations = self.cost(self.array(genes))
            heavy, busy = size > self.limits[0], operations > self.limits[1]
            rows = np.flatnonzero(heavy | busy)
            if not len(rows):
                return genes
            priority = rng.random((len(rows), genes.shape[1]))
            # Bits of inputs do not change the size.
            priority[:, 1::2] -= (heavy & ~busy)[rows, None]
            priority[genes[rows] == 0] = -2
            genes[rows, priority.argmax(1)] -= 1
