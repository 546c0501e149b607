"""Calibration batches, and how modules are called with them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


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


def in_order(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a module's forward by position, where all of them were given by name."""
    if args:
        return args, kwargs
    bound = inspect.signature(module.forward).bind(**kwargs)
    return bound.args, bound.kwargs
