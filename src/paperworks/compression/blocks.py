"""Which modules of a model are a chain of blocks, seen by running it.

A chain hands a hidden state from block to block. What else a block is given comes from before the
chain (masks, positions) or from an earlier block (a second state, a connection around blocks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.calls import as_call, in_order
from paperworks.compression.running import run_model

Others = dict[int | str, Any]  # arguments of a block beside the first, by place or name
Place = tuple[int, int]  # an entry of a block's output
Links = dict[int | str, Place]


@dataclass
class Call:
    """One call of a block: the hidden state, the other arguments by place or name, the output."""

    state: Any
    others: Others
    output: Any = None

    @classmethod
    def of(cls, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """A call of ``block`` as a hook sees it."""
        args, kwargs = in_order(block, args, kwargs)
        others: Others = dict(enumerate(args[1:]))
        return cls(args[0] if args else None, others | kwargs)  # type: ignore[operator]


def within(block: str, layers: list[str]) -> list[str]:
    """Those of ``layers`` that are in ``block``, or are it."""
    return [name for name in layers if name == block or name.startswith(f"{block}.")]


def candidates_for(model: nn.Module, layers: list[str]) -> list[list[str]]:
    """The children of each list of modules, those with the most weights to work on first."""
    sizes = {name: model.get_submodule(name).weight.numel() for name in layers}  # type: ignore[operator]
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            blocks = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
            weight = sum(sizes[each] for block in blocks for each in within(block, layers))
            found.append((weight, blocks))
    # Stable: of two with the same weights inside, the outer one comes first.
    return [blocks for weight, blocks in sorted(found, key=lambda each: -each[0]) if weight]


@dataclass
class Found:
    """Blocks that were seen to be a chain.

    Block i takes its other arguments (masks, positions) as block ``sources[i]`` does, but for those
    that an earlier block makes: ``links[i]`` says where. ``early`` are the layers called before.
    """

    blocks: list[str]
    sources: list[int]
    links: list[Links]
    early: set[str]


def observe(
    model: nn.Module, candidates: list[list[str]], layers: list[str], batches: list[Any]
) -> Found | None:
    """The first of the candidates that is a chain, if one is."""
    watched = {name for blocks in candidates for name in blocks}
    left = [_Candidate(blocks) for blocks in candidates]
    for batch in _one_of_each_shape(batches):
        calls, order = _watch(model, watched, layers, batch)
        left = [each for each in left if each.holds(calls, order)]
    if not left:
        return None
    found = left[0]
    sources = [found.arguments.index(each) for each in found.arguments]
    return Found(found.blocks, sources, found.links or [], found.early & set(layers))


@dataclass
class _Candidate:
    """Blocks that may be a chain, and what was seen of them."""

    blocks: list[str]
    arguments: list[tuple[int, ...]] = field(init=False)
    """For each block, by batch, the first block that was given the same other arguments."""
    links: list[Links] | None = None
    early: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.arguments = [()] * len(self.blocks)

    def holds(self, calls: list[tuple[str, Call]], order: list[str]) -> bool:
        """Take in what happened on one batch; False where it was not what a chain does."""
        mine = [(name, call) for name, call in calls if name in self.blocks]
        if [name for name, _ in mine] != self.blocks or not _passes_on([call for _, call in mine]):
            return False
        links = _links([call for _, call in mine])
        if self.links not in (None, links):
            return False
        self.links = links
        extras = [unlinked(call.others, each) for (_, call), each in zip(mine, links, strict=True)]
        firsts = [next(j for j, each in enumerate(extras) if _shared(each, one)) for one in extras]
        self.arguments = [
            (*seen, first) for seen, first in zip(self.arguments, firsts, strict=True)
        ]
        self.early |= set(order[: order.index(self.blocks[0])])
        return True


def _watch(
    model: nn.Module, blocks: set[str], layers: list[str], batch: Any
) -> tuple[list[tuple[str, Call]], list[str]]:
    """Run one batch: the calls of ``blocks``, and all that was called, in order."""
    calls: list[tuple[str, Call]] = []
    order: list[str] = []
    hooks = []
    for name in blocks:
        module = model.get_submodule(name)

        def enter(block: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            calls.append((name, Call.of(block, args, kwargs)))
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


def _passes_on(calls: list[Call]) -> bool:
    """Whether each call's first argument is what the call before gave, untouched."""
    if not all(isinstance(call.state, Tensor) for call in calls):
        return False
    return all(
        isinstance(state_of(before.output), Tensor) and _equal(state_of(before.output), after.state)
        for before, after in pairwise(calls)
    )


def _links(calls: list[Call]) -> list[Links]:
    """For each block the arguments that an earlier one has made, and where."""
    made: dict[int, Place] = {}
    links = []
    for i, call in enumerate(calls):
        links.append({key: made[id(each)] for key, each in call.others.items() if id(each) in made})
        given = set(map(id, call.others.values()))
        for j, each in enumerate(outputs_of(call.output)):
            if isinstance(each, Tensor) and id(each) not in given:
                made[id(each)] = (i, j)
    return links


def unlinked(others: Others, links: Links) -> Others:
    """Arguments without those that an earlier block makes."""
    return {key: None if key in links else value for key, value in others.items()}


def outputs_of(output: Any) -> Any:
    """The entries of what a block gave, which may be but one."""
    return output if isinstance(output, tuple | list) and output else (output,)


def state_of(output: Any) -> Any:
    """The hidden state that a block gave."""
    return outputs_of(output)[0]


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
