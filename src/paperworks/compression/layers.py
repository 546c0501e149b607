"""What the methods see of a model: its Linear, Conv2d and Embedding layers as matrices.

A linear map has ``groups`` independent matrices (one, but for a grouped convolution) that share
one weight of shape (out, fan_in). A method works on that matrix and on the rows that are
multiplied with it, and need not know which layer they come from.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

TILE = 64
"""Columns that are packed together: a group with a scale of its own is a multiple of them."""
SKIP = ("lm_head", "*.lm_head")
"""Left alone by default: the output head of a language model, as every paper here leaves it."""
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
"""Where a module keeps the hooks on its forward."""


def compressible(
    model: nn.Module,
    *,
    skip: Sequence[str] = SKIP,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
    plain: bool = False,
    beside: tuple[type[nn.Module], ...] = (),
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
        Which layers count, of Linear and Conv2d. So do their subclasses.
    plain : bool
        True: subclasses are refused. For methods that replace a layer's forward by their own.
    beside : tuple of types
        Other modules with weights that are no reason to refuse the model.

    Raises
    ------
    ValueError
        If a pattern of ``skip`` matches no module; if nothing is left; if a layer is packed
        already; if a module with a weight is of no kind that is known here, embeddings and
        normalizations aside; if a weight is not finite, tied to another module's, or computed from
        other parameters. The message names the module.
    """
    if isinstance(skip, str):
        raise ValueError(
            f"skip must be a list of patterns, got the string {skip!r}: use [{skip!r}]"
        )
    _check_patterns(model, [each for each in skip if each not in SKIP])
    found: dict[str, nn.Module] = {}
    foreign: dict[str, str] = {}
    owners: dict[int, list[str]] = {}
    packed: list[str] = []
    inside: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        weight = module._parameters.get("weight")
        if weight is not None:
            owners.setdefault(id(weight), []).append(name)
        stands_for: Any = getattr(module, "stands_for", None)  # of packed layers
        if stands_for is not None:
            inside.append(f"{name}.layer".lstrip("."))
        if any(fnmatch.fnmatch(name, each) for each in skip) or name in inside:
            pass
        elif stands_for is not None and issubclass(stands_for, kinds):
            packed.append(name or "the model")
        elif isinstance(module, kinds) and (not plain or type(module) in kinds):
            found[name] = module
        elif not isinstance(module, beside) and _has_matrix(module, plain):
            foreign[name] = type(module).__name__
        if isinstance(module, nn.MultiheadAttention):  # which multiplies with it by itself
            inside.append(f"{name}.out_proj".lstrip("."))
    if foreign:
        texts = [f"{name or 'the model'} is a {kind}" for name, kind in foreign.items()]
        way = f"leave it out with skip={[*skip, *foreign]}" if found else "and there is no other"
        if "Conv1D" in foreign.values():  # of transformers, as GPT-2 has it in every block
            way += "; a Conv1D is a Linear with its weight transposed: make it one first"
        raise ValueError(f"{_listed(texts)}: not a layer that can be compressed here; {way}")
    if packed:
        raise ValueError(
            f"layers of {type(model).__name__} are packed, as {_listed(packed)}, and packed "
            "weights can be neither pruned nor quantized: prune first, then quantize once. After "
            "an error midway make the model anew; to work on the other layers alone, leave these "
            "out with skip="
        )
    if not found:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{type(model).__name__} has no {names} layer outside skip={list(skip)}")
    for name, module in found.items():
        weight = module._parameters.get("weight")
        if weight is None:
            raise ValueError(
                f"the weight of {name or 'the layer'} is computed from other parameters "
                f"({', '.join(each for each, _ in module.named_parameters())}): make it plain "
                "first, with torch.nn.utils.prune.remove, remove_weight_norm, or "
                "parametrize.remove_parametrizations"
            )
        others = [other for other in owners[id(weight)] if other != name]
        if others:
            raise ValueError(
                f"the weight of {name} is tied to that of {', '.join(others)}: changing one would "
                f"change the other; leave it out with skip=[..., {name!r}]"
            )
        check_finite(name, weight)
    return found


def _check_patterns(model: nn.Module, skip: Sequence[str]) -> None:
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    idle = [each for each in skip if not fnmatch.filter(names, each)]
    if idle:
        close = difflib.get_close_matches(idle[0], names, n=1, cutoff=0) or names[-1:]
        raise ValueError(
            f"skip: no module of {type(model).__name__} is called "
            f"{' or '.join(map(repr, idle))}, but one is called {close[0]!r}: patterns are of "
            "whole names"
        )


def _has_matrix(module: nn.Module, plain: bool) -> bool:
    """Whether a module has a weight that somebody would expect to be compressed."""
    aside: tuple[type[nn.Module], ...] = (
        nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm
    )  # fmt: skip
    if not plain or type(module) in (nn.Linear, nn.Conv2d):
        aside += (nn.Linear, nn.Conv2d)  # of a kind that was not asked for
    return not isinstance(module, aside) and any(
        parameter is not None and parameter.dim() >= 2 and ("weight" in name or "proj" in name)
        for name, parameter in module._parameters.items()
    )


def _listed(texts: list[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    more = [f"{len(texts) - most} more"] if len(texts) > most else []
    return ", ".join(texts[:most] + more)


def check_finite(name: str, weight: Tensor) -> None:
    """Raise a ValueError that names the layer where a weight is NaN, infinite or empty."""
    if not weight.numel():
        raise ValueError(
            f"{name or 'the layer'} has no weights, but a shape of {tuple(weight.shape)}: leave it "
            "out with skip="
        )
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


def column_groups(name: str, weight: Tensor, group: int | None) -> int:
    """How many groups of ``group`` columns a weight has; one where there is no group.

    Raises
    ------
    ValueError
        If they do not fill it, or do not fill the tiles that weights are packed in.
    """
    if group is None:
        return 1
    columns = weight.shape[1]
    if group < 1 or columns % group or (group != columns and group % TILE):
        fitting = [size for size in range(TILE, columns, TILE) if columns % size == 0]
        sizes = f"{', '.join(map(str, fitting))} would do" if fitting else "no other would do"
        raise ValueError(
            f"group={group} does not divide the {columns} columns of {name or 'the layer'} into "
            f"multiples of {TILE}: {sizes}; or give no group, or leave it out with "
            f"skip=[..., {name!r}]"
        )
    return columns // group


def input_rows(layer: nn.Module, x: Tensor, *more: Any, **named: Any) -> Tensor:
    """The rows that the layer multiplies with its weight.

    Parameters
    ----------
    layer : Linear or Conv2d
        Or a subclass, whose forward is run to see what it multiplies.
    x : (..., in_features) or (batch, channels, height, width) float
        What the layer's forward is given.
    more, named
        Its other arguments, for a subclass that has them.

    Returns
    -------
    (groups, rows, fan_in) float
        Such that group ``g`` of the output is ``rows[g] @ weight_matrix(layer)[of g].T``, plus
        the bias. For a convolution the rows are its patches: kernel height times width more
        memory than ``x``.

    Raises
    ------
    ValueError
        For a subclass that does not multiply something with its weight just once.
    """
    if type(layer) is nn.Linear:
        return x.reshape(1, -1, x.shape[-1])
    with _Products(layer) as products:
        layer.forward(x, *more, **named)
    if len(products.calls) != 1:
        raise ValueError(
            f"a {type(layer).__name__} is not understood: its forward multiplies with its weight "
            f"{len(products.calls)} times"
        )
    x, settings = products.calls[0]
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(1, -1, x.shape[-1])
    stride, padding, dilation, groups = settings
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        x = functional.pad(
            x, [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
        )
    patches = functional.unfold(
        x if x.dim() == 4 else x[None],
        layer.kernel_size,
        dilation=dilation,
        padding=padding if not isinstance(padding, str) else 0,
        stride=stride,
    )
    batch, fan, places = patches.shape
    patches = patches.reshape(batch, groups, fan // groups, places)
    return patches.permute(1, 0, 3, 2).reshape(groups, batch * places, -1)


class _Products(TorchFunctionMode):
    """Notes what a layer's weight is multiplied with, after whatever the layer does before."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.weight = layer.weight
        self.calls: list[tuple[Tensor, tuple[Any, ...]]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (functional.linear, functional.conv2d):
            names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
            given = dict(zip(names, args, strict=False)) | kwargs
            if given["weight"] is self.weight:
                defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
                settings = tuple(given.get(name, value) for name, value in defaults.items())
                self.calls.append((given["input"], settings))
        return func(*args, **kwargs)


def replace(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where the layer called ``name`` was, with the forward hooks that were on it."""
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
    old = owner._modules.get(last)
    if old is not None:
        for hooks in HOOKS:  # the very dicts, from which their handles remove them
            setattr(new, hooks, getattr(old, hooks))
    setattr(owner, last, new)
