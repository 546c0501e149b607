"""Run calibration data through the chain of a model's blocks, one block at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.blocks import (
    Call,
    Found,
    Others,
    Place,
    candidates_for,
    observe,
    outputs_of,
    state_of,
    unlinked,
    within,
)
from paperworks.compression.running import run_model

_WHOLE = "the whole model"
_BEFORE = "before the blocks"
_AFTER = "after the blocks"


def _nothing() -> None:
    pass


@dataclass
class Stage:
    """Some layers of a model, and how to run the calibration data through them.

    ``run`` sends the data through the part of the model where the layers are; ``advance`` is
    called when they are done and prepares the next stage.
    """

    name: str
    layers: list[str]
    run: Callable[[], None] = _nothing
    advance: Callable[[], None] = _nothing


class _Reached(Exception):  # noqa: N818 - not an error: it ends a run early
    pass


@dataclass
class _Chain:
    """Blocks that pass a hidden state on, and the calibration data on its way through them."""

    model: nn.Module
    batches: list[Any]
    found: Found
    hidden: list[Tensor] = field(default_factory=list)
    extras: list[dict[int, Others]] = field(default_factory=list)
    made: list[dict[Place, Tensor]] = field(default_factory=list)

    def enter(self) -> None:
        """Record what the blocks are given, by running the model up to the first of them."""
        last = max(self.found.sources)
        for batch in self.batches:
            extras: dict[int, Others] = {}

            def keep(index: int, call: Call, extras: Any = extras) -> None:
                if index == 0:
                    self.hidden.append(call.state.clone())
                if index in self.found.sources:
                    extras[index] = _untouched(unlinked(call.others, self.found.links[index]))
                if index == last:
                    raise _Reached

            hooks = [
                self.model.get_submodule(name).register_forward_pre_hook(
                    lambda block, args, kwargs, index=index: keep(
                        index, Call.of(block, args, kwargs)
                    ),
                    with_kwargs=True,
                )
                for index, name in enumerate(self.found.blocks)
            ]
            try:
                run_model(self.model, [batch])
            except _Reached:
                pass
            finally:
                for hook in hooks:
                    hook.remove()
            self.extras.append(extras)
            self.made.append({})

    def call(self, index: int, batch: int) -> Any:
        others = _untouched(self.extras[batch][self.found.sources[index]])
        others |= {key: self.made[batch][place] for key, place in self.found.links[index].items()}
        args = [value for key, value in others.items() if isinstance(key, int)]
        kwargs = {key: value for key, value in others.items() if isinstance(key, str)}
        block = self.model.get_submodule(self.found.blocks[index])
        with torch.no_grad():
            # A copy, since a block may change its input in place.
            return block(self.hidden[batch].clone(), *args, **kwargs)

    def run(self, index: int) -> None:
        for batch in range(len(self.batches)):
            self.call(index, batch)

    def advance(self, index: int) -> None:
        needed = {place for links in self.found.links[index + 1 :] for place in links.values()}
        for batch in range(len(self.batches)):
            output = self.call(index, batch)
            self.hidden[batch] = state_of(output)
            outputs = outputs_of(output)
            made = self.made[batch] | {(index, j): outputs[j] for i, j in needed if i == index}
            self.made[batch] = {place: each for place, each in made.items() if place in needed}
        if index == len(self.found.blocks) - 1:
            self.hidden, self.extras, self.made = [], [], []


def plan(model: nn.Module, layers: list[str], batches: list[Any]) -> list[Stage]:
    """The stages in which to go through ``layers``, in order.

    With calibration data a chain is used where the model is seen to behave as one: each block is
    called once, in order, with what the block before it gave. For that, one batch of each shape
    runs through the whole model. Without data, the blocks only divide the work.
    """
    candidates = candidates_for(model, layers)
    if not batches:
        blocks = candidates[0] if candidates else []
        stages = [Stage(name, within(name, layers)) for name in blocks]
        rest = [name for name in layers if not any(name in stage.layers for stage in stages)]
        return [stage for stage in [Stage(_WHOLE, rest), *stages] if stage.layers]
    found = observe(model, candidates, layers, batches)
    if found is None:
        return [Stage(_WHOLE, layers, lambda: run_model(model, batches))]
    chain = _Chain(model, batches, found)
    inside = {name for block in found.blocks for name in within(block, layers)}
    before = [name for name in layers if name in found.early]
    after = [name for name in layers if name not in inside and name not in found.early]
    stages = [Stage(_BEFORE, before, lambda: run_model(model, batches), chain.enter)]
    stages += [
        Stage(
            block,
            within(block, layers),
            lambda index=index: chain.run(index),  # type: ignore[misc]
            lambda index=index: chain.advance(index),  # type: ignore[misc]
        )
        for index, block in enumerate(found.blocks)
    ]
    if after:
        stages.append(Stage(_AFTER, after, lambda: run_model(model, batches)))
    return stages


def _untouched(value: Any) -> Any:
    """Arguments of a block as they are, but for objects that it may write to, as a cache."""
    if isinstance(value, Tensor | nn.Module):
        return value
    if type(value) in (tuple, list):
        return type(value)(map(_untouched, value))
    if type(value) is dict:
        return {key: _untouched(each) for key, each in value.items()}
    return copy.deepcopy(value)
