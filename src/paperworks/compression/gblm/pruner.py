"""GBLM-Pruner: weights times activations, plus weights times gradients.

R. J. Das, M. Sun, L. Ma, Z. Shen, "Beyond Size: How Gradients Shape Pruning Decisions in Large
Language Models", arXiv:2311.04902: the pruning metric and algorithm 1,

    scores = abs(weight) * (activations + alpha * gradients),

``activations[j]`` the l2 norm of input ``j``, ``gradients[i, j]`` the l1 or l2 norm, over the
calibration samples, of the gradient of the loss with respect to ``weight[i, j]``. Both are scaled
as the published code does it (``gradient_computation.py``, ``lib/prune.py``), which the equations
leave open and on which the meaning of ``alpha`` depends: the squares of the activations are summed
over all tokens and divided by the number of samples; gradients are of each sample's mean loss, and
summed, not averaged.

What departs from the published code:

- Norms are in float32 and gradients in the model's dtype; it adds up half-precision numbers, in
  which a sum of 128 small gradients loses digits.
- The model is in evaluation mode; it leaves dropout on, which LLaMA has not.
- Gradients are of the model before anything is pruned, as there, but lie in files (see
  :mod:`.gradients`).
- Layers may be convolutions, and the loss may be another than the next token's.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paperworks.compression.chain import plan
from paperworks.compression.gblm.gradients import GradientNorms, Loss, Norm, next_token_loss
from paperworks.compression.layers import SKIP, weight_matrix
from paperworks.compression.layerwise import Checkpoint, Progress
from paperworks.compression.observers import InputNorms
from paperworks.compression.pruning import Pruner, per_output


class GBLMPruner(Pruner):
    """Drops the weights of least magnitude times activation norm plus gradient norm.

    In each output row by itself the weights with the lowest
    ``abs(weight[i, j]) * (activations[j] + alpha * gradients[i, j])`` go. No weight is changed
    otherwise, and nothing is trained. With ``alpha=0`` it is :class:`Wanda`, which needs no
    backward pass.

    Parameters
    ----------
    sparsity : float in [0, 1), optional
        The part of each output row that is dropped, 0.5 by default.
    pattern : str, optional
        ``"n:m"`` such as ``"2:4"`` or ``"4:8"``, in place of ``sparsity``.
    alpha : float
        How much gradients weigh. 100 as in the paper, for 128 samples of 2048 tokens there. The
        gradient norm grows with the number of samples (l1) or its root (l2), the activation norm
        with the root of the tokens in a sample.
    gradient_norm : {"l1", "l2"}
        How the gradients of the samples are put together. The paper has both.
    loss : callable (model, batch) -> scalar tensor
        What gradients are taken of. By default the next-token loss of a causal language model of
        transformers, or what any of its models computes where the batches have labels.
    samples : iterable, optional
        What the loss is called with, one gradient each, where that is more than the model's
        forward takes: images with their labels, say. By default the calibration batches.
    folder : path, optional
        Where a temporary folder for the gradient norms is made: four bytes a weight, on a disk.
        By default the system's folder for temporary files.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        As for :class:`paperworks.compression.pruning.Pruner`; for a setting outside its range;
        when called, for a model without a loss of its own where none is given, and where a loss or
        a gradient is not finite or a layer has none; and under ``torch.inference_mode()``.
    OSError
        If there is no room for the gradient norms.

    See Also
    --------
    Wanda : without gradients; a third of the time.
    SparseGPT : changes the weights that stay.

    Notes
    -----
    A batch is a sample: it has one gradient. Give batches of one sequence, as the paper does;
    gradients of several in one batch cancel.

    Time: a forward and a backward pass with each block run twice forward, then Wanda's walk. Every
    sample reads and writes the files once. Memory beside the model: the hidden states between the
    blocks for one sample, what one block and the loss need, and the gradient of one layer.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
    >>> x, y = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.0]])
    >>> def loss(model, sample):
    ...     return (model(sample[0]) - sample[1]).square().mean()
    >>> GBLMPruner(0.5, loss=loss, samples=[(x, y)])(model, [x]).weight.tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(
        self,
        sparsity: float | None = None,
        *,
        pattern: str | None = None,
        alpha: float = 100.0,
        gradient_norm: Norm = "l1",
        loss: Loss = next_token_loss,
        samples: Iterable[Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(sparsity, pattern=pattern, skip=skip)
        if not (alpha >= 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be finite and >= 0, got {alpha}")
        if gradient_norm not in ("l1", "l2"):
            raise ValueError(f"gradient_norm must be 'l1' or 'l2', got {gradient_norm!r}")
        self.alpha, self.gradient_norm, self.loss = alpha, gradient_norm, loss
        self.samples = None if samples is None else list(samples)
        if self.samples == []:
            raise ValueError("samples is empty: leave it out to take the calibration batches")
        self.folder = folder
        self._gradients: GradientNorms | None = None
        self._batches = 0

    def __call__(
        self,
        model: nn.Module,
        calibration: Iterable[Any] | None = None,
        *,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> nn.Module:
        """Prune ``model`` in place and return it; see :meth:`LayerwiseMethod.__call__`.

        ``progress`` counts the samples first, as "gradients", then the blocks. With a
        ``checkpoint`` finished blocks are not pruned again; gradients are taken again, of the
        model as it was.
        """
        if torch.is_inference_mode_enabled():
            raise ValueError(
                "GBLMPruner takes gradients, which torch.inference_mode() forbids for good: call "
                "it outside; torch.no_grad() around it does no harm"
            )
        with tempfile.TemporaryDirectory(prefix="gblm-", dir=self.folder) as folder:
            self._folder, self._progress = Path(folder), progress
            try:
                return super().__call__(
                    model, calibration, progress=progress, checkpoint=checkpoint
                )
            finally:
                self._gradients = None

    def prepare(self, model: nn.Module, layers: dict[str, nn.Module], batches: list[Any]) -> None:
        """Take the gradients of the whole model."""
        self._batches = len(batches)
        modules = dict(model.named_modules())
        blocks = [stage.name for stage in plan(model, list(layers), batches[:1])]
        self._gradients = GradientNorms(self._folder, layers, self.gradient_norm)
        self._gradients.add(
            model,
            [name for name in blocks if name in modules],
            self.loss,
            batches if self.samples is None else self.samples,
            self._progress,
        )

    def observer(self, name: str, layer: nn.Module) -> InputNorms:
        """The norms of one layer's inputs."""
        return InputNorms()

    def compress_layer(self, name: str, layer: nn.Module, seen: InputNorms) -> nn.Module:
        """Drop the weights of one layer with the lowest scores."""
        # From a mean over tokens to a sum over tokens and a mean over samples.
        activations = seen.norms * math.sqrt(seen.rows / self._batches)
        assert self._gradients is not None
        gradients = self._gradients[name].flatten(1).to(activations.device)
        scores = torch.add(per_output(activations, layer), gradients, alpha=self.alpha)
        scores *= weight_matrix(layer).float().abs()
        return self.keep(layer, scores, per="row")
