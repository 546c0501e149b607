"""What a model costs to run, and what its zeros would save.

Global magnitude pruning (arXiv:2209.14624) compares methods by the FLOPs that remain, too: a weight
of an early convolution is used at many places, one of a late layer at few, so that two masks of one
sparsity differ in cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from paperworks.compression.chain import evaluation, run_model


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
    runs: dict[str, int] = {}
    kinds = (nn.Linear, nn.Conv2d)
    layers = {name: each for name, each in model.named_modules() if isinstance(each, kinds)}

    def hook(name: str, layer: nn.Linear | nn.Conv2d, output: Tensor) -> None:
        # A weight is used once at each place: once per entry of one output channel.
        runs[name] = runs.get(name, 0) + output.numel() // layer.weight.shape[0]

    handles = [
        layer.register_forward_hook(lambda layer, _, output, name=name: hook(name, layer, output))
        for name, layer in layers.items()
    ]
    try:
        with evaluation(model):
            run_model(model, [batch])
    finally:
        for handle in handles:
            handle.remove()
    if not runs:
        raise ValueError(f"no Linear or Conv2d layer of {type(model).__name__} ran on the batch")
    return MultiplyAdds(
        {
            name: LayerCost(
                places * layers[name].weight.numel(),
                places * int(layers[name].weight.detach().count_nonzero()),
            )
            for name, places in runs.items()
        }
    )
