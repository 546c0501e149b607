"""Layer-wise pruning by a score: magnitude, and Wanda's weights times activations.

M. Sun, Z. Liu, A. Bair, J. Z. Kolter, "A Simple and Effective Pruning Approach for Large Language
Models" (Wanda), arXiv:2306.11695: the score of equation (1), the comparison within each output
row, and N:M. Layer-wise magnitude pruning is the baseline of that paper and of those after it.

They are here since no kept library does Wanda as published on a CPU: torchao's sparsifier compares
over the whole layer, takes Linear layers only and prunes all of them from the inputs of the model
as it was; llm-compressor is bound to other versions of its ground. What is general in this module,
:class:`Pruner`, is shared with SparseGPT and GBLM-Pruner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from paperworks.compression.layers import SKIP, group_count, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.masks import (
    apply_mask,
    check_inputs,
    check_sparsity,
    lowest_mask,
    n_m_mask,
    parse_n_m,
)
from paperworks.compression.observers import InputNorms


class Pruner(LayerwiseMethod):
    """What the pruners of one layer at a time share: how much goes, in which pattern.

    Parameters
    ----------
    sparsity : float in [0, 1), optional
        The part of each layer's weights that is dropped; 0.5 where neither this nor a pattern is
        given. Pruning within output rows rounds it to whole weights of a row.
    pattern : str, optional
        ``"n:m"`` such as ``"2:4"`` or ``"4:8"``: n of each m consecutive inputs stay (of the
        channels, for a convolution). It takes the place of ``sparsity``.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        If both are given, for a sparsity outside [0, 1) or a malformed pattern; when called, for a
        layer with a number of inputs that m does not divide.
    """

    def __init__(
        self,
        sparsity: float | None = None,
        *,
        pattern: str | None = None,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        if sparsity is not None and pattern is not None:
            raise ValueError(
                f"give sparsity or pattern, not both: pattern={pattern!r} fixes the sparsity, got "
                f"sparsity={sparsity}"
            )
        self.pattern = pattern
        self.n, self.m = (1, 1) if pattern is None else parse_n_m(pattern)
        self.sparsity = 0.5 if sparsity is None else sparsity
        if pattern is not None:
            self.sparsity = 1 - self.n / self.m
        check_sparsity(self.sparsity)

    def check(self, layers: dict[str, nn.Module]) -> None:
        """Refuse a layer that the pattern does not fit."""
        check_inputs(layers, self.m)

    def keep(self, layer: nn.Module, scores: Tensor, *, per: Literal["tensor", "row"]) -> nn.Module:
        """Zero the weights of ``layer`` with the lowest ``scores``, (out, fan_in), in place."""
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if self.pattern is None:
            mask = lowest_mask(scores, self.sparsity, per=per)
        else:
            scores = scores.reshape(weight.shape).movedim(1, -1)
            mask = n_m_mask(scores, self.n, self.m).movedim(-1, 1)
        apply_mask(layer, mask.reshape(weight.shape))
        return layer


class MagnitudePruner(Pruner):
    """Drops the smallest weights of each layer, whatever the data.

    Needs no calibration data. Over all layers at once, with a floor for each, it is
    :class:`paperworks.compression.global_magnitude.GlobalMagnitudePruner`.

    Parameters
    ----------
    sparsity : float in [0, 1), optional
        The part of each layer's weights that is dropped, 0.5 by default.
    pattern : str, optional
        ``"n:m"``, in place of ``sparsity``.
    per : {"tensor", "row"}
        What weights are compared with: all of their layer, as in the papers of SparseGPT and
        Wanda, or those of their output row. Has no effect on ``"n:m"``.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        As for :class:`Pruner`.

    Notes
    -----
    O(weights) time; memory for the scores of one layer.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.1, -3.0, 2.0, -0.2]]))
    >>> MagnitudePruner(0.5)(model).weight.tolist()
    [[0.0, -3.0, 2.0, 0.0]]
    """

    calibration = "unused"

    def __init__(
        self,
        sparsity: float | None = None,
        *,
        pattern: str | None = None,
        per: Literal["tensor", "row"] = "tensor",
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(sparsity, pattern=pattern, skip=skip)
        if per not in ("tensor", "row"):
            raise ValueError(f"per must be 'tensor' or 'row', got {per!r}")
        self.per: Literal["tensor", "row"] = per

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Drop the smallest weights of one layer."""
        return self.keep(layer, weight_matrix(layer).abs(), per=self.per)


class Wanda(Pruner):
    """Drops the weights with the smallest magnitude times norm of their input.

    In each output row by itself the weights with the smallest
    ``abs(weight[i, j]) * norm(inputs[:, j])`` go. No weight is changed otherwise.
    :class:`SparseGPT` changes them, costs more and is better at high sparsity;
    :class:`GBLMPruner` adds gradients.

    Parameters
    ----------
    sparsity : float in [0, 1), optional
        The part of each output row that is dropped, 0.5 by default.
    pattern : str, optional
        ``"n:m"``, in place of ``sparsity``.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        As for :class:`Pruner`.

    Notes
    -----
    One pass of the data through each block and O(weights) time; memory for the scores of one
    layer. The inputs of a convolution are its patches, so each place in the kernel has a norm of
    its own.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.1, -3.0, 2.0, -0.2]]))
    >>> inputs = torch.tensor([[90.0, 1.0, 1.0, 0.0], [90.0, -1.0, 2.0, 0.0]])
    >>> [round(w, 1) for w in Wanda(0.5)(model, [inputs]).weight[0].tolist()]
    [0.1, 0.0, 2.0, 0.0]
    """

    def observer(self, name: str, layer: nn.Module) -> InputNorms:
        """The norms of one layer's inputs."""
        return InputNorms()

    def compress_layer(self, name: str, layer: nn.Module, seen: InputNorms) -> nn.Module:
        """Drop the weights of one layer with the lowest scores."""
        scores = weight_matrix(layer).float().abs() * per_output(seen.norms, layer)
        return self.keep(layer, scores, per="row")


def per_output(norms: Tensor, layer: nn.Module) -> Tensor:
    """Of (groups, fan_in) norms the row that belongs to each output; (1, fan_in) where all do."""
    groups = group_count(layer)
    outputs = weight_matrix(layer).shape[0]
    return norms if groups == 1 else norms.repeat_interleave(outputs // groups, 0)
