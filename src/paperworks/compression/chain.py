"""Find the chain of blocks in a model, and run calibration data through it block by block."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.calls import as_call, in_order
from paperworks.compression.running import run_model

_WHOLE = "the whole model"
_BEFORE = "before the blocks"
_AFTER = "after the blocks"


_Others = dict[int | str, Any]  # arguments of a block beside the first, by place or name
_Place = tuple[int, int]  # an entry of a block's output
_Links = dict[int | str, _Place]


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
class _Call:
    """One call of a block: the hidden state, the other arguments by place or name, the output."""

    state: Any
    others: _Others
    output: Any = None

    @classmethod
    def of(cls, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        args, kwargs = in_order(block, args, kwargs)
        return cls(args[0] if args else None, {**dict(enumerate(args[1:])), **kwargs})


@dataclass
class _Chain:
    """Blocks that pass a hidden state on, and the calibration data on its way through them."""

    model: nn.Module
    batches: list[Any]
    blocks: list[str]
    # Block i takes its other arguments (masks, positions) as block sources[i] does, but for those
    # that an earlier block makes: links[i] says where.
    sources: list[int]
    links: list[_Links]
    hidden: list[Tensor] = field(default_factory=list)
    extras: list[dict[int, _Others]] = field(default_factory=list)
    made: list[dict[_Place, Tensor]] = field(default_factory=list)

    def enter(self) -> None:
        """Record what the blocks are given, by running the model up to the first of them."""
        last = max(self.sources)
        for batch in self.batches:
            extras: dict[int, _Others] = {}

            def keep(index: int, call: _Call, extras: Any = extras) -> None:
                if index == 0:
                    self.hidden.append(call.state.clone())
                if index in self.sources:
                    extras[index] = _untouched(_unlinked(call.others, self.links[index]))
                if index == last:
                    raise _Reached

            hooks = [
                self.model.get_submodule(name).register_forward_pre_hook(
                    lambda block, args, kwargs, index=index: keep(
                        index, _Call.of(block, args, kwargs)
                    ),
                    with_kwargs=True,
                )
                for index, name in enumerate(self.blocks)
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
        others = _untouched(self.extras[batch][self.sources[index]])
        others |= {key: self.made[batch][place] for key, place in self.links[index].items()}
        args = [value for key, value in others.items() if isinstance(key, int)]
        kwargs = {key: value for key, value in others.items() if isinstance(key, str)}
        block = self.model.get_submodule(self.blocks[index])
        with torch.no_grad():
            # A copy, since a block may change its input in place.
            return block(self.hidden[batch].clone(), *args, **kwargs)

    def run(self, index: int) -> None:
        for batch in range(len(self.batches)):
            self.call(index, batch)

    def advance(self, index: int) -> None:
        needed = {place for links in self.links[index + 1 :] for place in links.values()}
        for batch in range(len(self.batches)):
            output = self.call(index, batch)
            self.hidden[batch] = _state(output)
            outputs = _outputs(output)
            made = self.made[batch] | {(index, j): outputs[j] for i, j in needed if i == index}
            self.made[batch] = {place: each for place, each in made.items() if place in needed}
        if index == len(self.blocks) - 1:
            self.hidden, self.extras, self.made = [], [], []


def plan(model: nn.Module, layers: list[str], batches: list[Any]) -> list[Stage]:
    """The stages in which to go through ``layers``, in order.

    With calibration data a chain is used where the model is seen to behave as one: each block is
    called once, in order, with what the block before it gave. For that, one batch of each shape
    runs through the whole model. Without data, the blocks only divide the work.
    """
    candidates = _candidates(model, layers)
    if not batches:
        blocks = candidates[0] if candidates else []
        stages = [Stage(name, _within(name, layers)) for name in blocks]
        rest = [name for name in layers if not any(name in stage.layers for stage in stages)]
        return [stage for stage in [Stage(_WHOLE, rest), *stages] if stage.layers]
    chain, early = _observe(model, candidates, layers, batches)
    if chain is None:
        return [Stage(_WHOLE, layers, lambda: run_model(model, batches))]
    inside = {name for block in chain.blocks for name in _within(block, layers)}
    before = [name for name in layers if name in early]
    after = [name for name in layers if name not in inside and name not in early]
    stages = [Stage(_BEFORE, before, lambda: run_model(model, batches), chain.enter)]
    stages += [
        Stage(
            block,
            _within(block, layers),
            lambda index=index: chain.run(index),  # type: ignore[misc]
            lambda index=index: chain.advance(index),  # type: ignore[misc]
        )
        for index, block in enumerate(chain.blocks)
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


def _within(block: str, layers: list[str]) -> list[str]:
    return [name for name in layers if name == block or name.startswith(f"{block}.")]


def _candidates(model: nn.Module, layers: list[str]) -> list[list[str]]:
    """The children of each list of modules, those with the most weights to work on first."""
    sizes = {name: model.get_submodule(name).weight.numel() for name in layers}  # type: ignore[operator]
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            blocks = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
            weight = sum(sizes[each] for block in blocks for each in _within(block, layers))
            found.append((weight, blocks))
    # Stable: of two with the same weights inside, the outer one comes first.
    return [blocks for weight, blocks in sorted(found, key=lambda each: -each[0]) if weight]


def _observe(
    model: nn.Module, candidates: list[list[str]], layers: list[str], batches: list[Any]
) -> tuple[_Chain | None, set[str]]:
    """The chain, if one of the candidates is one, and the layers called before it."""
    watched = {name for blocks in candidates for name in blocks}
    left = [_Candidate(blocks) for blocks in candidates]
    for batch in _one_of_each_shape(batches):
        calls, order = _watch(model, watched, layers, batch)
        left = [each for each in left if each.holds(calls, order)]
    if not left:
        return None, set()
    found = left[0]
    sources = [found.arguments.index(each) for each in found.arguments]
    chain = _Chain(model, batches, found.blocks, sources, found.links or [])
    return chain, found.early & set(layers)


@dataclass
class _Candidate:
    """Blocks that may be a chain, and what was seen of them."""

    blocks: list[str]
    arguments: list[tuple[int, ...]] = field(init=False)
    """For each block, by batch, the first block that was given the same other arguments."""
    links: list[_Links] | None = None
    early: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.arguments = [()] * len(self.blocks)

    def holds(self, calls: list[tuple[str, _Call]], order: list[str]) -> bool:
        """Take in what happened on one batch; False where it was not what a chain does."""
        mine = [(name, call) for name, call in calls if name in self.blocks]
        if [name for name, _ in mine] != self.blocks or not _passes_on([call for _, call in mine]):
            return False
        links = _links([call for _, call in mine])
        if self.links not in (None, links):
            return False
        self.links = links
        extras = [_unlinked(call.others, each) for (_, call), each in zip(mine, links, strict=True)]
        firsts = [next(j for j, each in enumerate(extras) if _shared(each, one)) for one in extras]
        self.arguments = [
            (*seen, first) for seen, first in zip(self.arguments, firsts, strict=True)
        ]
        self.early |= set(order[: order.index(self.blocks[0])])
        return True


def _watch(
    model: nn.Module, blocks: set[str], layers: list[str], batch: Any
) -> tuple[list[tuple[str, _Call]], list[str]]:
    """Run one batch: the calls of ``blocks``, and all that was called, in order."""
    calls: list[tuple[str, _Call]] = []
    order: list[str] = []
    hooks = []
    for name in blocks:
        module = model.get_submodule(name)

        def enter(block: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            calls.append((name, _Call.of(block, args, kwargs)))
            order.append(name)

        def leave(_: Any, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            next(call for other, call in reversed(calls) if other == name).output = output

        hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        hooks.append(module.register_forward_hook(leave, with_kwargs=True))
    for name in layers:
        hooks.append(
            model.get_submodule(name).register_forward_pre_hook(
                lambda *_, name=name: order.append(name)
            )
        )
    try:
        run_model(model, [batch])
    finally:
        for hook in hooks:
            hook.remove()
    return calls, order


def _one_of_each_shape(batches: list[Any]) -> list[Any]:
    """The first batch of each shape: others of it take the same way through the model."""
    return list({_shape(as_call(batch)): batch for batch in reversed(batches)}.values())[::-1]


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        # Models leave out a mask of zeros and ones that masks nothing.
        masks = not bool(value.all()) and bool((value == value.bool()).all())
        return (value.shape, value.dtype, masks)
    if isinstance(value, tuple | list):
        return tuple(map(_shape, value))
    if isinstance(value, dict):
        return tuple((key, _shape(each)) for key, each in value.items())
    return value if isinstance(value, str | int | float | bool) else type(value)


def _passes_on(calls: list[_Call]) -> bool:
    """Whether each call's first argument is what the call before gave, untouched."""
    if not all(isinstance(call.state, Tensor) for call in calls):
        return False
    return all(
        isinstance(_state(before.output), Tensor) and _equal(_state(before.output), after.state)
        for before, after in pairwise(calls)
    )


def _links(calls: list[_Call]) -> list[_Links]:
    """For each block the arguments that an earlier one has made, and where."""
    made: dict[int, _Place] = {}
    links = []
    for i, call in enumerate(calls):
        links.append({key: made[id(each)] for key, each in call.others.items() if id(each) in made})
        given = set(map(id, call.others.values()))
        for j, each in enumerate(_outputs(call.output)):
            if isinstance(each, Tensor) and id(each) not in given:
                made[id(each)] = (i, j)
    return links


def _unlinked(others: _Others, links: _Links) -> _Others:
    return {key: None if key in links else value for key, value in others.items()}


def _outputs(output: Any) -> Any:
    return output if isinstance(output, tuple | list) and output else (output,)


def _state(output: Any) -> Any:
    return _outputs(output)[0]


def _equal(a: Any, b: Any) -> bool:
    return a is b or (isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b))


def _shared(a: Any, b: Any) -> bool:
    """Whether two blocks were given the same: of tensors the very same, since equal ones may be
    equal on this batch alone.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return _shared(list(a.items()), list(b.items()))
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_shared(x, y) for x, y in zip(a, b, strict=True))
    return a is b or (type(a) is type(b) and isinstance(a, str | int | float | bool) and a == b)
