"""What the methods see of a model: its Linear, Conv2d and Embedding layers as matrices.

A linear map has ``groups`` independent matrices (one, but for a grouped convolution) that share
one weight of shape (out, fan_in). A method works on that matrix and on the rows that are
multiplied with it, and need not know which layer they come from.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SKIP = ("lm_head",)
"""Left alone by default: the output head of a language model, as every paper here leaves it."""


def compressible(
    model: nn.Module,
    *,
    skip: Sequence[str] = SKIP,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> dict[str, nn.Module]:
    """The layers of ``model`` that a method works on, by name, in the order of definition.

    Parameters
    ----------
    model : nn.Module
        Any module; it may be such a layer itself (named ``""`` then).
    skip : sequence of str
        Patterns as in :mod:`fnmatch`; a layer whose name matches one is left out. The default
        leaves out the head of a language model.
    kinds : tuple of types
        Which layers count. Subclasses do not: what they compute may differ.

    Raises
    ------
    ValueError
        If nothing is left, if a weight is not finite, or if a weight is tied to another module's.
    """
    if isinstance(skip, str):
        raise ValueError(
            f"skip must be a list of patterns, got the string {skip!r}: use [{skip!r}]"
        )
    found = {
        name: module
        for name, module in model.named_modules()
        if type(module) in kinds and not any(fnmatch.fnmatch(name, each) for each in skip)
    }
    if not found:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{type(model).__name__} has no {names} layer outside skip={list(skip)}")
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight = module._parameters.get("weight")
        if weight is not None:
            owners.setdefault(id(weight), []).append(name)
    for name, module in found.items():
        weight = module.weight
        others = [other for other in owners[id(weight)] if other != name]
        if others:
            raise ValueError(
                f"the weight of {name} is tied to that of {', '.join(others)}: changing one would "
                f"change the other; leave it out with skip=[..., {name!r}]"
            )
        check_finite(name, weight)
    return found


def check_finite(name: str, weight: Tensor) -> None:
    """Raise a ValueError that names the layer where a weight is NaN or infinite."""
    # Extremes are NaN where any weight is, and take no memory; weights are counted only then.
    if not all(bool(torch.isfinite(extreme)) for extreme in weight.detach().aminmax()):
        bad = int((~torch.isfinite(weight)).sum())
        raise ValueError(
            f"{name or 'the layer'} has {bad:,} weights that are NaN or infinite, of "
            f"{weight.numel():,}: the model is damaged or diverged in training"
        )


def weight_matrix(layer: nn.Module) -> Tensor:
    """The weight as (out, fan_in): a view that shares the layer's memory, without gradient.

    A weight that does not lie row by row in memory, as after ``channels_last``, is laid out so
    first: a view of it would be a copy, and what a method writes would be lost.
    """
    if not layer.weight.is_contiguous():  # type: ignore[operator]
        layer.weight.data = layer.weight.data.contiguous()  # type: ignore[operator]
    return layer.weight.detach().flatten(1)  # type: ignore[operator]


def group_count(layer: nn.Module) -> int:
    """How many independent matrices share the weight: the groups of a convolution, or one."""
    return layer.groups if isinstance(layer, nn.Conv2d) else 1


def conv_settings(layer: nn.Conv2d) -> dict[str, Any]:
    """What a convolution is made with beside its sizes, bias and padding mode."""
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The rows that the layer multiplies with its weight.

    Parameters
    ----------
    layer : Linear or Conv2d
    x : (..., in_features) or (batch, channels, height, width) float
        What the layer's forward is given.

    Returns
    -------
    (groups, rows, fan_in) float
        Such that group ``g`` of the output is ``rows[g] @ weight_matrix(layer)[of g].T``, plus
        the bias. For a convolution the rows are its patches: kernel height times width more
        memory than ``x``.
    """
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(1, -1, x.shape[-1])
    if layer.padding_mode != "zeros":
        raise ValueError(
            f"a Conv2d with padding_mode={layer.padding_mode!r} is not supported, only 'zeros'"
        )
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        x = functional.pad(
            x, [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
        )
    padding = layer.padding if not isinstance(layer.padding, str) else 0
    patches = functional.unfold(
        x if x.dim() == 4 else x[None],
        layer.kernel_size,
        dilation=layer.dilation,
        padding=padding,
        stride=layer.stride,
    )
    batch, fan, places = patches.shape
    patches = patches.reshape(batch, layer.groups, fan // layer.groups, places)
    return patches.permute(1, 0, 3, 2).reshape(layer.groups, batch * places, -1)


def replace(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where the layer called ``name`` was."""
    if not name:
        raise ValueError(
            "the model is the layer itself and cannot be replaced in place: wrap it, as in "
            "nn.Sequential(layer)"
        )
    *path, last = name.split(".")
    for depth in range(len(path) + 1):
        owner = model.get_submodule(".".join(path[:depth]))
        # PyTorch's fast path in evaluation mode takes the weights and goes past our layers.
        if isinstance(owner, nn.TransformerEncoderLayer):
            owner.activation_relu_or_gelu = 0
        elif isinstance(owner, nn.TransformerEncoder):
            owner.use_nested_tensor = False
    setattr(owner, last, new)


def as_call(batch: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """A calibration batch as (args, kwargs) of the model's forward.

    A tensor is one positional argument, a tuple or list the positional ones, a mapping (a
    tokenizer's output too) the keyword ones.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(batch, Tensor):
        return (batch,), {}
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    if hasattr(batch, "keys") and hasattr(batch, "__getitem__"):
        return (), {key: batch[key] for key in batch.keys()}  # noqa: SIM118
    raise TypeError(
        "a calibration batch must be a tensor, a tuple of arguments or a dict of keyword "
        f"arguments, got {type(batch).__name__}"
    )


def as_batches(calibration: Iterable[object] | None) -> list[object]:
    """The batches as a list, so that they can be gone through more than once.

    Raises
    ------
    ValueError
        Where there is none.
    TypeError
        For one tensor, which would be taken apart along its first axis.
    """
    if isinstance(calibration, Tensor) or hasattr(calibration, "keys"):
        raise TypeError("calibration must be a list of batches, got one batch: use [batch]")
    batches = list(calibration) if calibration is not None else []
    if not batches:
        raise ValueError("this method needs calibration data: give at least one batch")
    for batch in batches:
        as_call(batch)
    return batches
