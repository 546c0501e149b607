"""The shared walk: one block of a model at a time, each layer from its own inputs.

A deep network is a chain of blocks. Only one block runs at a time: its layers' inputs are
observed on the calibration batches, the layers are compressed, and the block as it is then makes
the inputs of the next. So the calibration sees the error made so far, and beside the model no
more is in memory than the batches' hidden states and what one block needs.

A model that is not such a chain is one block; so are, each, the layers before the first block of
a chain and those after the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from paperworks.compression.calls import as_batches, in_order
from paperworks.compression.chain import plan
from paperworks.compression.layers import (
    SKIP,
    column_groups,
    compressible,
    input_rows,
    replace,
    weight_matrix,
)
from paperworks.compression.running import evaluation, unreached

Progress = Callable[[int, int, str], None]
"""Called with the number of blocks done, their total, and the name of the one that starts."""


class Observer(Protocol):
    """Gathers what a method needs of one layer's inputs."""

    def update(self, rows: Tensor) -> None:
        """Take in (groups, rows, fan_in) inputs, as of :func:`layers.input_rows`."""


class Checkpoint(Protocol):
    """Keeps finished blocks, so that an interrupted walk can go on."""

    def holds(self, block: str) -> bool:
        """Whether a block is finished."""

    def restore(self, block: str, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """The compressed layers of a finished block by name, in the place of ``layers``."""

    def save(self, block: str, layers: dict[str, nn.Module]) -> None:
        """Keep the compressed layers of a block."""


class LayerwiseMethod(ABC):
    """A method that compresses one layer at a time, from what it saw of that layer's inputs.

    Subclasses say what to gather (:meth:`observer`) and what to do with it
    (:meth:`compress_layer`); the walk over the model is here.

    Parameters
    ----------
    skip : sequence of str
        Patterns of names of layers to leave alone; the default leaves out ``lm_head``.
    """

    calibration: Literal["required", "optional", "unused"] = "required"
    """Whether calibration data are needed, taken where they are given, or never looked at."""

    def __init__(self, *, skip: Sequence[str] = SKIP):
        self.skip = tuple(skip) if not isinstance(skip, str) else skip

    group: int | None = None
    """Columns of a weight that share a scale, for methods that have such."""

    def check(self, layers: dict[str, nn.Module]) -> None:
        """Refuse, before any work is done, layers that cannot be compressed so."""
        for name, layer in layers.items():
            column_groups(name, weight_matrix(layer), self.group)

    def targets(self, model: nn.Module) -> dict[str, nn.Module]:
        """The layers of ``model`` that it would work on, by name.

        Raises
        ------
        ValueError
            If there is none, or one that cannot be compressed so; see :func:`layers.compressible`.
        """
        layers = compressible(model, skip=self.skip)
        self.check(layers)
        return layers

    def prepare(self, model: nn.Module, layers: dict[str, nn.Module], batches: list[Any]) -> None:  # noqa: B027
        """Look at the whole model once, before the walk. By default nothing."""

    def observer(self, name: str, layer: nn.Module) -> Observer | None:
        """A fresh observer of one layer's inputs, or None where none is needed.

        Called where there are calibration data.
        """
        return None

    @abstractmethod
    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """The compressed layer: ``layer`` itself, changed, or what takes its place.

        ``seen`` is the layer's observer after all batches, None where there is none. No gradients
        are recorded, unless within ``torch.enable_grad()``.
        """

    def __call__(
        self,
        model: nn.Module,
        calibration: Iterable[Any] | None = None,
        *,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> nn.Module:
        """Compress ``model`` in place and return it.

        Parameters
        ----------
        model : nn.Module
            With Linear or Conv2d layers.
        calibration : iterable of batches
            A batch is what the model's forward takes: a tensor, a tuple of positional arguments,
            or a dict of keyword arguments. See :attr:`calibration` for who needs them.
        progress : callable (done, total, name), optional
        checkpoint : Checkpoint, optional
            Where finished blocks are kept and taken from.

        Raises
        ------
        ValueError
            If no layer is left to compress, a weight is not finite or tied to another, there is
            no calibration data, or a layer does not run on it.
        """
        layers = self.targets(model)
        blind = self.calibration == "optional" and calibration is None
        batches = [] if blind or self.calibration == "unused" else as_batches(calibration)
        with evaluation(model):
            stages = plan(model, list(layers), batches)
            kept = {each.name for each in stages if checkpoint and checkpoint.holds(each.name)}
            left = len([each for each in stages if each.name not in kept])
            if left:
                self._check_reached(model, layers, batches)
                self.prepare(model, layers, batches)
            for done, stage in enumerate(stages):
                if progress is not None:
                    progress(done, len(stages), stage.name)
                # Not held longer: what is replaced is freed with its block.
                mine = {name: layers.pop(name) for name in stage.layers}
                if checkpoint is not None and stage.name in kept:
                    new = checkpoint.restore(stage.name, mine)
                else:
                    left -= 1
                    observers = {
                        name: self.observer(name, layer) if batches else None
                        for name, layer in mine.items()
                    }
                    with _observing(mine, observers):
                        if any(observers.values()):
                            stage.run()
                    with torch.no_grad():
                        new = {
                            name: self.compress_layer(name, layer, observers.pop(name))
                            for name, layer in mine.items()
                        }
                    if checkpoint is not None:
                        checkpoint.save(stage.name, new)
                for name, layer in new.items():
                    if layer is not mine[name]:
                        replace(model, name, layer)
                mine, new = {}, {}
                if left:
                    stage.advance()
            if progress is not None:
                progress(len(stages), len(stages), "")
        return model

    def _check_reached(
        self, model: nn.Module, layers: dict[str, nn.Module], batches: list[Any]
    ) -> None:
        """Refuse layers whose inputs are needed and never seen, while the model is still whole."""
        observed = [
            name for name, layer in layers.items() if batches and self.observer(name, layer)
        ]
        _refuse_unreached(unreached(model, observed, batches))


@contextmanager
def _observing(
    layers: dict[str, nn.Module], observers: dict[str, Observer | None]
) -> Iterator[None]:
    """Feed the inputs of the layers to their observers."""
    reached = set()
    hooks = []
    for name, layer in layers.items():
        observer = observers[name]
        if observer is None:
            continue

        def see(
            layer: nn.Module, args: Any, kwargs: Any, name: str = name, observer: Any = observer
        ) -> None:
            args, kwargs = in_order(layer, args, kwargs)
            if not bool(torch.isfinite(args[0]).all()):
                raise ValueError(f"the inputs of {name} are not finite on the calibration data")
            if not args[0].numel():
                raise ValueError(
                    f"the inputs of {name or 'the layer'} are empty: a calibration batch has no "
                    "rows"
                )
            reached.add(name)
            try:
                rows = input_rows(layer, *args, **kwargs)
            except ValueError as error:
                raise ValueError(
                    f"{name or 'the layer'}: {error}; leave it out with skip="
                ) from None
            observer.update(rows)

        hooks.append(layer.register_forward_pre_hook(see, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    # What was reached before may not be any more, where an input decides on its way.
    _refuse_unreached([name for name, each in observers.items() if each and name not in reached])


def _refuse_unreached(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"the calibration data never reach {', '.join(names)}: leave them out with skip="
        )
