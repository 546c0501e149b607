"""Running a model on calibration data, for what its hooks see."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.calls import as_call
from paperworks.compression.packed_layers import QuantizedLayer


def run_model(model: nn.Module, batches: list[Any]) -> None:
    """Call the model on copies of the batches, for what its hooks see."""
    for batch in batches:
        args, kwargs = as_call(batch)
        try:
            with torch.no_grad():
                model(*map(_copied, args), **{key: _copied(value) for key, value in kwargs.items()})
        except TypeError:
            _check_taken(model, args, kwargs)
            raise


def _check_taken(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"the forward of {type(model).__name__} takes no batch of this form ({error}): a batch "
            "is a tensor, a tuple or list of arguments, or a dict of keyword arguments; of the "
            "pairs of a data loader give the inputs without the labels"
        ) from None


def unreached(model: nn.Module, layers: list[str], batches: list[Any]) -> list[str]:
    """Those of ``layers`` that no batch reaches; no more batches are run than it takes to tell."""
    left = dict.fromkeys(layers)
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda *_, name=name: left.pop(name, None)
        )
        for name in layers
    ]
    try:
        for batch in batches:
            if not left:
                break
            run_model(model, [batch])
    finally:
        for hook in hooks:
            hook.remove()
    return list(left)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no cache of keys and values; both as they were afterwards."""
    modes = {name: module.training for name, module in model.named_modules()}
    # Of every part: an encoder, a decoder or a model within another has a configuration of its own.
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in found if hasattr(config, "use_cache")}
    caches = [config.use_cache for config in configs.values()]
    model.eval()
    for config in configs.values():
        config.use_cache = False
    try:
        yield
    finally:
        for config, cache in zip(configs.values(), caches, strict=True):
            config.use_cache = cache
        # By name, since a layer may have been replaced meanwhile.
        for name, module in model.named_modules():
            module.training = modes.get(name, modes[""])


def weight_uses(model: nn.Module, batch: Any) -> dict[str, int]:
    """How often each weight of the Linear and Conv2d layers that run on ``batch`` is used, by name.

    Packed layers count. In evaluation mode; a layer that runs several times counts as often.
    """
    uses: dict[str, int] = {}

    def count(name: str, layer: nn.Linear | nn.Conv2d | QuantizedLayer, output: Tensor) -> None:
        # A weight is used once at each place: once per entry of one output channel.
        uses[name] = uses.get(name, 0) + output.numel() // layer.weight.shape[0]

    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: count(name, layer, output))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | QuantizedLayer)
    ]
    try:
        with evaluation(model):
            run_model(model, [batch])
    finally:
        for hook in hooks:
            hook.remove()
    return uses


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
