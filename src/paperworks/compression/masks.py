"""Pruning masks: which weights stay, and how they are kept through further training.

A mask is boolean and has the shape of the weight: True where a weight stays. All counts are exact.
Among equal scores the earlier entry (row by row) is dropped, so that a mask is a function of the
scores alone.

N:M sparsity (n of each m consecutive weights) is what sparse tensor cores take: Mishra et al.,
arXiv:2104.08378. Groups of comparison per output row are those of Wanda (Sun et al.,
arXiv:2306.11695). The Erdos-Renyi-kernel allocation is that of RigL (Evci et al.,
arXiv:1911.11134, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Literal

import torch
from torch import Tensor, nn

from paperworks.compression.layers import SKIP, compressible

_BLOCK = 1 << 22  # entries looked at in one go, so that temporaries stay small


def lowest_mask(
    scores: Tensor, sparsity: float, *, per: Literal["tensor", "row"] = "tensor"
) -> Tensor:
    """The mask that drops the lowest scores.

    Parameters
    ----------
    scores : (out, ...) float tensor
        How much each weight matters. Infinite ones are ranked as such.
    sparsity : float in [0, 1]
        The part to drop: ``round(sparsity * size)`` entries of each group of comparison.
    per : {"tensor", "row"}
        Whether entries are compared over the whole tensor, or within each output row
        ``scores[i]``, as Wanda does.

    Returns
    -------
    bool tensor of the shape of ``scores``, True where a weight stays.

    Raises
    ------
    ValueError
        If a score is NaN, or ``sparsity`` lies outside [0, 1].

    Notes
    -----
    O(size) time by selection, not sorting. Rows are taken in blocks, so that memory beyond the
    mask is O(the larger of one group of comparison and four million entries).

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([[0.1, 0.9, 0.5, 0.5], [3.0, 2.0, 4.0, 1.0]])
    >>> lowest_mask(scores, 0.5, per="row").int()
    tensor([[0, 1, 0, 1],
            [1, 0, 1, 0]], dtype=torch.int32)
    """
    check_sparsity(sparsity, most=1.0)
    _check_scores(scores)
    rows = scores.detach().reshape(1 if per == "tensor" else len(scores), -1)
    drop = round(sparsity * rows.shape[1])
    mask = torch.ones_like(rows, dtype=torch.bool)
    if drop:
        at_once = max(1, _BLOCK // rows.shape[1])
        for part, kept in zip(rows.split(at_once), mask.split(at_once), strict=True):
            limit = part.kthvalue(drop, dim=1, keepdim=True).values
            torch.gt(part, limit, out=kept)
            spared = part.shape[1] - drop - kept.sum(1, keepdim=True)
            if spared.any():  # ties at the limit, of which the last ones stay
                ties = part == limit
                kept |= ties & (ties.flip(1).cumsum(1, dtype=torch.int32).flip(1) <= spared)
    return mask.reshape(scores.shape)


def n_m_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """The mask that keeps the ``n`` highest scores of each ``m`` consecutive ones.

    Parameters
    ----------
    scores : (..., fan_in) float tensor
        Groups lie along the last axis. For a convolution put the input channels last
        (``weight.movedim(1, -1)``): that is how sparse kernels group them.
    n, m : int
        ``0 < n <= m``; 2 and 4, or 4 and 8, on current hardware.

    Returns
    -------
    bool tensor of the shape of ``scores``, True where a weight stays.

    Raises
    ------
    ValueError
        If a score is NaN, ``fan_in`` is not a multiple of ``m``, or ``n`` lies outside [1, m].

    Notes
    -----
    Each entry's rank in its group is counted by comparisons: O(size * m) time, no sorting.

    Examples
    --------
    >>> import torch
    >>> n_m_mask(torch.tensor([0.3, 0.1, 0.2, 0.4]), 2, 4).int()
    tensor([1, 0, 0, 1], dtype=torch.int32)
    """
    if not 0 < n <= m:
        raise ValueError(f"n:m needs 0 < n <= m, got {n}:{m}")
    if not scores.dim() or scores.shape[-1] % m:
        raise ValueError(
            f"{n}:{m} needs a fan-in that is a multiple of {m}, got scores of shape "
            f"{tuple(scores.shape)}; leave such a layer out with skip="
        )
    _check_scores(scores)
    groups = scores.detach().unflatten(-1, (-1, m)).unbind(-1)
    # How many of its group each entry beats; of two equal ones the later beats the earlier.
    beaten = torch.zeros(*groups[0].shape, m, dtype=torch.int16, device=scores.device)
    for i in range(m):
        for j in range(i + 1, m):
            earlier_wins = groups[i] > groups[j]
            beaten[..., i] += earlier_wins
            beaten[..., j] += ~earlier_wins
    return (beaten >= m - n).flatten(-2)


def parse_n_m(pattern: str, others: str = "") -> tuple[int, int]:
    """``"2:4"`` as ``(2, 4)``. ``others``: what the error says that it might be instead."""
    found = re.fullmatch(r"(\d+):(\d+)", pattern)
    if not found or not 0 < int(found[1]) <= int(found[2]):
        raise ValueError(
            f"pattern must be {others}n:m with 0 < n <= m, such as '2:4', got {pattern!r}"
        )
    return int(found[1]), int(found[2])


def check_inputs(layers: Mapping[str, nn.Module], m: int) -> None:
    """Raise a ValueError that names a layer whose number of inputs ``m`` does not divide."""
    for name, layer in layers.items():
        inputs = layer.weight.shape[1]  # type: ignore[index]
        if inputs % m:
            raise ValueError(
                f"{name or 'the layer'} has {inputs} inputs, which {m} does not divide: leave it "
                f"out with skip=[..., {name!r}]"
            )


def allocate(
    layers: Mapping[str, nn.Module],
    sparsity: float,
    rule: Literal["uniform", "erk"] = "uniform",
) -> dict[str, int]:
    """How many weights each layer keeps under a layer-wise rule.

    Parameters
    ----------
    layers : mapping of str to nn.Module
        As from :func:`paperworks.compression.layers.compressible`.
    sparsity : float in [0, 1)
        The part of all weights that is dropped.
    rule : {"uniform", "erk"}
        ``"uniform"``: the same density everywhere. ``"erk"`` (Erdos-Renyi kernel): density
        proportional to the sum of the weight's sizes over their product, for a convolution
        ``(out + in + kh + kw) / (out * in * kh * kw)``; layers that would pass 1 are dense, and
        the others share what is left.

    Returns
    -------
    dict of str to int
        The counts. They add up to the number of all weights less ``round(sparsity * that)``
        exactly: what rounding leaves over goes to the layers with the largest remainders.

    Examples
    --------
    >>> import torch
    >>> layers = {"wide": torch.nn.Linear(100, 100), "head": torch.nn.Linear(100, 10)}
    >>> allocate(layers, 0.9), allocate(layers, 0.9, "erk")
    ({'wide': 1000, 'head': 100}, {'wide': 710, 'head': 390})
    """
    check_sparsity(sparsity)
    if rule not in ("uniform", "erk"):
        raise ValueError(f"rule must be 'uniform' or 'erk', got {rule!r}")
    shapes = {name: layer.weight.shape for name, layer in layers.items()}
    sizes = {name: shape.numel() for name, shape in shapes.items()}  # type: ignore[operator]
    total = sum(sizes.values())
    keep = total - round(sparsity * total)
    share = dict.fromkeys(sizes, 1.0)
    if rule == "erk":
        share = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}  # type: ignore[arg-type]
    dense: set[str] = set()
    while True:
        left = keep - sum(sizes[name] for name in dense)
        weight = sum(share[name] * sizes[name] for name in sizes if name not in dense)
        scale = left / weight if weight else 0.0
        # A layer over 1 stays over it when others are capped: scale only grows.
        over = {name for name in sizes if name not in dense and share[name] * scale > 1}
        if not over:
            break
        dense |= over
    wanted = {n: sizes[n] * (1.0 if n in dense else min(1.0, share[n] * scale)) for n in sizes}
    counts = {name: int(want) for name, want in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: counts[name] - wanted[name])
    for name in by_remainder:
        if sum(counts.values()) < keep and counts[name] < sizes[name]:
            counts[name] += 1
    return counts


def apply_mask(layer: nn.Module, mask: Tensor) -> None:
    """Set to exactly zero the weights of ``layer`` that the mask drops, in place.

    Raises
    ------
    ValueError
        If the mask is not boolean or has another shape than the weight.
    """
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    if mask.dtype != torch.bool or mask.shape != weight.shape:
        raise ValueError(
            f"a mask for {type(layer).__name__} must be bool of shape {tuple(weight.shape)}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    weight.masked_fill_(~mask, 0)


class MaskedTraining:
    """Keeps pruned weights at zero while a model is trained further.

    Whatever is exactly zero when this is made stays zero: call the object after each step of the
    optimizer, or let it :meth:`follow` the optimizer and do so itself.

    Parameters
    ----------
    model : nn.Module
        A pruned model.
    skip : sequence of str
        Layers left alone, as in :func:`paperworks.compression.layers.compressible`; embeddings and
        biases always are.

    Attributes
    ----------
    masks : dict of str to bool tensor
        True where a weight stays, by layer.

    Notes
    -----
    One byte a weight, and one pass over the weights each step. The optimizer's own state of a
    dropped weight goes on changing and has no effect.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(4, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 1.0, 0.0, 2.0]]))
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> _ = MaskedTraining(layer).follow(optimizer)
    >>> layer(torch.ones(3, 4)).sum().backward()
    >>> optimizer.step()
    >>> layer.weight.data == 0
    tensor([[ True, False,  True, False]])
    """

    def __init__(self, model: nn.Module, *, skip: Sequence[str] = SKIP) -> None:
        self._layers = compressible(model, skip=skip)
        self.masks: dict[str, Tensor] = {
            name: layer.weight.detach() != 0  # type: ignore[operator]
            for name, layer in self._layers.items()
        }

    def __call__(self, *_: object) -> None:
        """Set the dropped weights to zero again. Arguments that a hook passes are ignored."""
        for name, layer in self._layers.items():
            apply_mask(layer, self.masks[name])

    def follow(self, optimizer: torch.optim.Optimizer) -> MaskedTraining:
        """Do so after every step of ``optimizer`` from now on; returns this object."""
        optimizer.register_step_post_hook(self)
        return self


def check_sparsity(sparsity: float, *, most: float | None = None) -> None:
    """Raise a ValueError unless ``sparsity`` lies in [0, 1), or in [0, ``most``] where given."""
    good = isinstance(sparsity, Real) and sparsity >= 0 and sparsity < 1
    if most is not None:
        good = isinstance(sparsity, Real) and 0 <= sparsity <= most
    if not good:
        raise ValueError(
            "sparsity is the part that is dropped and must lie in "
            f"{'[0, 1)' if most is None else f'[0, {most:g}]'}, got {sparsity!r}"
        )


def _check_scores(scores: Tensor) -> None:
    # The extremes are NaN where any score is, and finding them takes no memory.
    if scores.numel() and torch.isnan(scores.detach().aminmax().max):
        raise ValueError("a score is NaN: the weights or the calibration data are damaged")
