"""What a model costs to run, and what its zeros would save.

The paper (arXiv:2209.14624) compares methods by the FLOPs that remain, too: a weight of an early
convolution is used at many places, one of a late layer at few, so that two masks of one sparsity
differ in cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from paperworks.compression.packed import PackedWeight
from paperworks.compression.running import weight_uses


@dataclass(frozen=True)
class LayerCost:
    """Multiply-adds of one layer: all of them, and those with a weight that is not zero."""

    dense: int
    sparse: int


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of a model for one batch; twice as many FLOPs.

    ``layers`` has one :class:`LayerCost` per Linear and Conv2d layer that ran, by name.
    """

    layers: dict[str, LayerCost]

    @property
    def dense(self) -> int:
        """With every weight counted, zero or not."""
        return sum(layer.dense for layer in self.layers.values())

    @property
    def sparse(self) -> int:
        """With the weights that are not zero counted alone."""
        return sum(layer.sparse for layer in self.layers.values())

    @property
    def saved(self) -> float:
        """The part of the dense ones that zeros would save, given kernels that skip them."""
        return 1 - self.sparse / self.dense


def multiply_adds(model: nn.Module, batch: object) -> MultiplyAdds:
    """Count the multiply-adds of the Linear and Conv2d layers of ``model`` on ``batch``.

    Packed layers count as what they stand for, so that pruning can be followed by quantization.

    Parameters
    ----------
    model : nn.Module
        Run once in evaluation mode, without gradients; its mode is put back.
    batch : Tensor, tuple or dict
        What the forward takes; give one example to count per example.

    Returns
    -------
    MultiplyAdds
        Every output of a layer costs its fan-in; places of a convolution that see padding count
        as others do. Biases, activations, normalisation and attention scores are left out. A
        layer that runs several times counts as often.

    Raises
    ------
    ValueError
        If no such layer ran.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten(),
    ...                             torch.nn.Linear(4 * 8 * 8, 10))
    >>> model[0].weight.data[:2] = 0
    >>> cost = multiply_adds(model, torch.zeros(1, 1, 8, 8))
    >>> cost.dense, cost.sparse  # 9 weights x 4 filters x 64 places, and 256 x 10
    (4864, 3712)
    """
    uses = weight_uses(model, batch)
    if not uses:
        raise ValueError(f"no Linear or Conv2d layer of {type(model).__name__} ran on the batch")
    costs = {}
    for name, times in uses.items():
        weight: Any = model.get_submodule(name).weight
        weight = weight.dequantize() if isinstance(weight, PackedWeight) else weight.detach()
        costs[name] = LayerCost(times * weight.numel(), times * int(weight.count_nonzero()))
    return MultiplyAdds(costs)
