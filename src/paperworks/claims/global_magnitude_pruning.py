"""What the paper of global magnitude pruning says: one rank of all weights, and a floor, will do.

The protocol is the paper's: a trained network is pruned and fine-tuned with its zeros held, in one
go up to 95 % and gradually from 98 %. All contenders start from the same trained network, prune to
the same number of weights at the same steps, and are fine-tuned on the same batches. The network
is a ResNet with batch normalisation: a ResNet-8 on digits, a half-wide ResNet-20 on 10,000
images of CIFAR-10.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paperworks.claims import _vision
from paperworks.claims._kept import kept
from paperworks.compression.global_magnitude.gradual import GradualPruning
from paperworks.compression.global_magnitude.pruner import GlobalMagnitudePruner
from paperworks.compression.layers import SKIP, compressible
from paperworks.compression.masks import MaskedTraining, allocate, apply_mask, lowest_mask
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult

PAPER = "global-magnitude-pruning"
OURS, PLAIN = "global with a floor", "global without"
UNIFORM, ERK = "uniform", "ERK"
MARGIN = 0.005  # "matches": at most half a point of accuracy behind
GRADUAL_FROM = 0.98
LR, TUNE_LR = 0.1, 0.05


class LayerwisePruner:
    """The smallest weights of each layer, as many as a layer-wise rule says."""

    def __init__(self, sparsity: float, rule: Literal["uniform", "erk"]) -> None:
        self.sparsity, self.rule, self.skip = sparsity, rule, SKIP

    def __call__(self, model: nn.Module) -> nn.Module:
        """Prune ``model`` in place and return it."""
        layers = compressible(model, skip=self.skip)
        for name, count in allocate(layers, self.sparsity, self.rule).items():
            weight = layers[name].weight.detach()  # type: ignore[operator]
            apply_mask(layers[name], lowest_mask(weight.abs(), 1 - count / weight.numel()))
        return model


def pruner(label: str, sparsity: float) -> Any:
    """The contender called ``label``."""
    if label in (OURS, PLAIN):
        return GlobalMagnitudePruner(sparsity, floor=0.1 if label == OURS else 0)
    return LayerwisePruner(sparsity, "uniform" if label == UNIFORM else "erk")


class Task:
    """The data, and a network that learns them."""

    def __init__(
        self, seed: int, device: str, data: str, images: int, depth: int, width: float
    ) -> None:
        self.seed = seed
        self.data = _vision.load_images(data, train=images, seed=seed).to(device)
        self.batch, self.augment = (128, True) if data == "cifar10" else (64, False)
        channels = self.data.x.shape[1]
        self.model = _vision.initialised(
            lambda: _vision.ResNet(depth, width, channels=channels), seed
        ).to(device)

    def fit(self, model: nn.Module, epochs: int, lr: float, after_step: Any = None) -> None:
        """Train; every contender sees the same batches."""
        _vision.train(
            model,
            self.data.x,
            self.data.y,
            epochs=epochs,
            batch=self.batch,
            lr=lr,
            augment=self.augment,
            generator=torch.Generator().manual_seed(self.seed),
            after_step=after_step,
        )

    def accuracy(self, model: nn.Module) -> float:
        """On the test images."""
        return _vision.accuracy(model, self.data.x_test, self.data.y_test)

    def pruned(self, label: str, sparsity: float, tune: int) -> nn.Module:
        """A copy, pruned as ``label`` says and fine-tuned for ``tune`` epochs."""
        model, prune = copy.deepcopy(self.model), pruner(label, sparsity)
        hook: Any
        if sparsity < GRADUAL_FROM:
            hook = MaskedTraining(prune(model))
        else:  # eight prunings over the first half
            every = max(1, tune * (len(self.data.x) // self.batch) // 16)
            hook = GradualPruning(prune, model, start=1, stop=1 + 8 * every, every=every)
        self.fit(model, tune, TUNE_LR, hook)
        left = sum(kept_by_layer(model))
        if left != sum(kept_by_layer(pruner(UNIFORM, sparsity)(copy.deepcopy(self.model)))):
            raise RuntimeError(f"{label} kept {left} weights, which is not its share")
        return model


def trained(*, epochs: int, **setting: Any) -> dict[str, Tensor]:
    """The state of a task's network after training."""
    task = Task(**setting)
    task.fit(task.model, epochs, LR)
    return task.model.state_dict()


def begun(*, epochs: int, **setting: Any) -> Task:
    """With the trained network that all contenders start from, in all claims."""
    task = Task(**setting)
    task.model.load_state_dict(kept(trained, epochs=epochs, **setting))
    return task


def kept_by_layer(model: nn.Module) -> list[int]:
    """How many weights of each layer are not zero."""
    return [int(layer.weight.count_nonzero()) for layer in compressible(model).values()]  # type: ignore[operator]


def against_layerwise(
    *, seed: int, device: str, sparsities: list[float], tune: int, **setting: Any
) -> TrialResult:
    """Mean test accuracy over the sparsities of each way to choose the weights."""
    task = begun(seed=seed, device=device, **setting)
    found = {
        label: [task.accuracy(task.pruned(label, s, tune)) for s in sparsities]
        for label in (OURS, UNIFORM, ERK)
    }
    values = {label: sum(scores) / len(scores) for label, scores in found.items()}
    values |= {f"{label} less half a point": values[label] - MARGIN for label in (UNIFORM, ERK)}
    curves = [Curve(label, sparsities, scores) for label, scores in found.items()]
    dense = task.accuracy(task.model)
    curves.append(Curve("not pruned", sparsities, [dense] * len(sparsities)))
    return TrialResult(values, curves)


def collapse(
    *, seed: int, device: str, sparsity: float, sparsities: list[float], **setting: Any
) -> TrialResult:
    """Layers without a weight at ``sparsity``, just after pruning; drawn over more of them."""
    task = begun(seed=seed, device=device, **setting)

    def empty(label: str, at: float) -> int:
        return kept_by_layer(pruner(label, at)(copy.deepcopy(task.model))).count(0)

    labels = (OURS, PLAIN)
    return TrialResult(
        {label: empty(label, sparsity) for label in labels},
        [Curve(label, sparsities, [empty(label, s) for s in sparsities]) for label in labels],
    )


def with_and_without(
    *, seed: int, device: str, sparsity: float, tune: int, **setting: Any
) -> TrialResult:
    """Test accuracy with the floor and without, at a high sparsity."""
    task = begun(seed=seed, device=device, **setting)
    return TrialResult(
        {label: task.accuracy(task.pruned(label, sparsity, tune)) for label in (OURS, PLAIN)}
    )


SMALL = {"data": "digits", "images": 700, "depth": 8, "width": 1.0, "epochs": 8}
LARGE = {"data": "cifar10", "images": 10_000, "depth": 20, "width": 0.5, "epochs": 20}
SPARSITIES = [0.9, 0.95, 0.98]
BEYOND = [0.9, 0.95, 0.98, 0.99, 0.995, 0.998]

CLAIMS = (
    Claim(
        paper=PAPER,
        name="matches-layer-wise-rules",
        statement=(
            "At 90, 95 and 98 % global magnitude pruning with a floor matches or beats magnitude "
            "pruning at layer-wise densities, uniform and ERK: after the same fine-tuning it is at "
            "most half a point of accuracy behind either."
        ),
        metric="mean test accuracy over the three sparsities",
        better="higher",
        ours=OURS,
        contenders=(f"{UNIFORM} less half a point", f"{ERK} less half a point"),
        effect=Effect("difference", 0.0),
        trial=against_layerwise,
        quick=Tier([{**SMALL, "images": 512, "sparsities": SPARSITIES, "tune": 3}], seeds=5),
        full=Tier([{**LARGE, "sparsities": SPARSITIES, "tune": 5}], seeds=5, timeout=7200),
        axes=Axes("sparsity", "test accuracy"),
    ),
    Claim(
        paper=PAPER,
        name="layers-collapse-without-the-floor",
        statement=(
            "At 98 % global magnitude pruning without a floor takes every weight of at least one "
            "layer; with the floor no layer is emptied."
        ),
        metric="layers without a weight after pruning to 98 %",
        better="lower",
        ours=OURS,
        contenders=(PLAIN,),
        effect=Effect("difference", 1.0),
        trial=collapse,
        quick=Tier([{**SMALL, "sparsity": 0.98, "sparsities": BEYOND}], seeds=5),
        full=Tier([{**LARGE, "sparsity": 0.98, "sparsities": BEYOND}], seeds=5, timeout=3600),
        axes=Axes("sparsity", "layers without a weight"),
    ),
    Claim(
        paper=PAPER,
        name="the-floor-keeps-accuracy",
        statement=(
            "At 99 % the floor makes up for layer collapse: after the same gradual pruning and "
            "fine-tuning the network with the floor is more accurate than the one without."
        ),
        metric="test accuracy at 99 %",
        better="higher",
        ours=OURS,
        contenders=(PLAIN,),
        effect=Effect("difference", 0.0),
        trial=with_and_without,
        quick=Tier([{**SMALL, "sparsity": 0.99, "tune": 3}], seeds=5),
        full=Tier([{**LARGE, "sparsity": 0.99, "tune": 5}], seeds=5, timeout=3600),
    ),
)
