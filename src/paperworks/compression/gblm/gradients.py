"""Norms over samples of the gradient of every weight, without a second copy of the model.

The norms are as large as the model, so they lie in files, one a layer, and are mapped into memory
only while they are added to. A gradient is added to its file by a hook as soon as it is complete,
and dropped: of all gradients only those of one layer exist at a time. Each block of the model is
run again on the way back (checkpointing), so that beside the model there are the hidden states
between the blocks, and what one block and the loss need.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paperworks.compression.calls import as_call
from paperworks.compression.layerwise import Progress

Loss = Callable[[nn.Module, Any], Tensor]
"""From the model and a batch to a scalar."""

Norm = Literal["l1", "l2"]


def next_token_loss(model: nn.Module, batch: Any) -> Tensor:
    """The loss that a model of transformers computes itself.

    Parameters
    ----------
    model : nn.Module
        A causal language model of transformers; any of its models where the batch has labels.
    batch : tensor, tuple or mapping
        What the model's forward takes. Where it has no ``labels``, the labels are its tokens
        (``input_ids``, or the first argument) but for those that ``attention_mask`` leaves out.

    Returns
    -------
    scalar tensor
        The mean cross-entropy of the next token, or of the labels given.

    Raises
    ------
    ValueError
        If the model is no causal language model and there are no labels.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Model(nn.Module):
    ...     def forward(self, x, labels):
    ...         return SimpleNamespace(loss=(x - labels).square().mean())
    >>> next_token_loss(Model(), {"x": torch.zeros(2), "labels": torch.ones(2)})
    tensor(1.)
    """
    args, kwargs = as_call(batch)
    if kwargs.get("labels") is None:
        generates = getattr(model, "can_generate", lambda: False)()
        if not generates or getattr(model.config, "is_encoder_decoder", False):
            raise ValueError(
                f"{type(model).__name__} has no next-token loss of its own: give "
                "loss=function(model, batch), or batches with labels"
            )
        tokens = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs.get("attention_mask")
        kwargs["labels"] = tokens if mask is None else tokens.masked_fill(mask == 0, -100)  # type: ignore[attr-defined]
    return model(*args, **kwargs).loss


class GradientNorms:
    """For each weight the norm, over samples, of the gradient of the loss; kept in files.

    Parameters
    ----------
    folder : Path
        An empty folder for the files: four bytes a weight. On a disk; a file system in memory
        would take what this is there to save.
    layers : dict of str to nn.Module
        The layers whose weights are meant.
    norm : {"l1", "l2"}
        The sum over samples of the gradient's magnitude, or the root of the sum of its squares.

    Raises
    ------
    OSError
        If the folder has no room.
    """

    def __init__(self, folder: Path, layers: dict[str, nn.Module], norm: Norm):
        self._weights: dict[str, Tensor] = {name: each.weight for name, each in layers.items()}  # type: ignore[misc]
        self._files = {name: str(folder / f"{i}.float32") for i, name in enumerate(layers)}
        self._norm = norm
        self._reached: set[str] = set()
        size = 4 * sum(weight.numel() for weight in self._weights.values())
        free = shutil.disk_usage(folder).free
        if size > free:  # a mapped file that finds no room would kill the process
            raise OSError(
                f"gradient norms take {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB "
                "left: give folder= on a larger disk (the command line: --out)"
            )

    def __getitem__(self, name: str) -> Tensor:
        """The norms of one layer in the shape of its weight, float32, mapped from its file."""
        weight = self._weights[name]
        # Of a new file all bytes are zero.
        flat = torch.from_file(self._files[name], shared=True, size=weight.numel())
        return flat.view(weight.shape)

    def add(
        self,
        model: nn.Module,
        blocks: Iterable[str],
        loss: Loss,
        samples: list[Any],
        progress: Progress | None = None,
    ) -> None:
        """Take in the gradients of ``loss(model, sample)`` for each sample.

        Parameters
        ----------
        model : nn.Module
            As it is; its parameters' ``requires_grad`` and ``grad`` are the same afterwards.
        blocks : iterable of str
            Modules to run again in the backward pass, in place of keeping what they computed.
        loss : callable
        samples : list
        progress : callable (done, total, name), optional
            Counts samples.

        Raises
        ------
        ValueError
            If a loss or a gradient is not finite, or a layer never gets a gradient.
        """
        with ExitStack() as stack:
            stack.enter_context(_only(model, list(self._weights.values())))
            for name in blocks:
                stack.enter_context(_checkpointed(model.get_submodule(name)))
            for name, weight in self._weights.items():
                hook = weight.register_post_accumulate_grad_hook(partial(self._take, name))
                stack.callback(hook.remove)
            stack.enter_context(torch.enable_grad())
            for index, sample in enumerate(samples):
                if progress is not None:
                    progress(index, len(samples), "gradients")
                value = loss(model, sample)
                if not isinstance(value, Tensor) or value.numel() != 1:
                    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else None
                    raise ValueError(
                        f"the loss must be a scalar tensor, got {got or type(value).__name__}"
                    )
                if not math.isfinite(value.item()):
                    raise ValueError(f"the loss of sample {index} is {value.item()}")
                if value.requires_grad:
                    value.backward()
        never = [name for name in self._weights if name not in self._reached]
        if never:
            raise ValueError(
                f"the loss does not depend on the weights of {', '.join(never)}: leave them out "
                "with skip="
            )

    def _take(self, name: str, weight: Tensor) -> None:
        """Add one gradient to its file and drop it."""
        gradient, weight.grad = weight.grad, None
        assert gradient is not None
        with torch.no_grad():
            norms = self[name]
            gradient = gradient.to(norms).abs_()
            if not bool(gradient.sum().isfinite()):
                raise ValueError(f"the gradient of {name or 'the layer'} is not finite")
            if self._norm == "l1":
                norms.add_(gradient)
            else:
                torch.hypot(norms, gradient, out=norms)
        self._reached.add(name)


@contextmanager
def _only(model: nn.Module, weights: list[Tensor]) -> Iterator[None]:
    """Let gradients flow to these weights alone, with none there yet."""
    before = [(each, each.requires_grad, each.grad) for each in model.parameters()]
    wanted = {id(weight) for weight in weights}
    try:
        for each, _, _ in before:
            each.requires_grad_(id(each) in wanted)
            each.grad = None
        yield
    finally:
        for each, required, gradient in before:
            each.requires_grad_(required)
            each.grad = gradient


@contextmanager
def _checkpointed(block: nn.Module) -> Iterator[None]:
    """Have the block run again in the backward pass."""
    own = block.__dict__.get("forward")  # someone else's replacement, put back afterwards
    block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        if own is None:
            del block.forward
        else:
            block.forward = own
