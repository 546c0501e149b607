"""Oscillation-free quantization: fewer oscillating weights than LSQ, and a better 2-bit model.

Liu, Liu and Cheng (ICML 2023, arXiv 2302.02210) train DeiT on ImageNet with 2-bit weights and
activations, from a trained model in full precision. Here a small vision transformer does the same
on small images. Both contenders start from one trained model, see the same batches in the same
order for the same number of steps at the same step size, and have 8-bit first and last layers and
activations with learned steps. Ours has StatsQ and QKR, and anneals in the last tenth of the steps
(the paper adds 30 epochs to 300; a part of one budget is the stricter reading). Nobody has weight
decay: the shared training loop would apply it to LSQ's steps too. There is no teacher.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from paperworks.claims._vision import ImageData, accuracy, initialised, load_images, train
from paperworks.claims._vit import VisionTransformer
from paperworks.compression.oscillation.annealing import ConfidenceGuidedAnnealing
from paperworks.compression.oscillation.convert import QuantizationAware
from paperworks.compression.oscillation.meter import OscillationMeter
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult

PAPER = "oscillation-free-quantization"
OURS, LSQ = "StatsQ + CGA + QKR", "LSQ"
# Weights, query-key reparameterisation, annealing; the last three are for the ablation alone.
CONTENDERS: dict[str, tuple[Any, bool, bool]] = {
    OURS: ("statsq", True, True),
    LSQ: ("lsq", False, False),
    "StatsQ": ("statsq", False, False),
    "StatsQ + CGA": ("statsq", False, True),
    "StatsQ + QKR": ("statsq", True, False),
}
ANNEALED = 0.1  # part of the steps


def trained(
    label: str, model: nn.Module, data: ImageData, seed: int, setting: dict[str, Any]
) -> tuple[nn.Module, OscillationMeter]:
    """A quantization-aware copy of ``model``, trained as ``label``, and the meter that watched."""
    weights, query_key, anneals = CONTENDERS[label]
    make = QuantizationAware(2, weights=weights, query_key=query_key)
    student = make(copy.deepcopy(model), [data.x[: setting["batch"]]])
    meter = OscillationMeter(student)
    annealing: list[ConfidenceGuidedAnnealing] = []

    def after_step(step: int, steps: int) -> None:
        for each in annealing:
            each.step()
        if anneals and not annealing and step >= round((1 - ANNEALED) * steps):
            annealing.append(ConfidenceGuidedAnnealing(student))
        meter.step()

    generator = torch.Generator().manual_seed(seed + 1)
    train(
        student, data.x, data.y, generator=generator, after_step=after_step,
        optimizer="adamw", weight_decay=0.0, **setting,
    )  # fmt: skip
    return student, meter


def both(
    labels: tuple[str, ...], *, seed: int, device: str, data: str, train_images: int, patch: int,
    dim: int, depth: int, heads: int, first: dict[str, Any], then: dict[str, Any],
) -> tuple[dict[str, float], dict[str, OscillationMeter]]:  # fmt: skip
    """Accuracy and meter of each contender: trained ``first`` in full precision, ``then`` so."""
    images = load_images(data, train_images, None, seed).to(device)
    channels, size = images.x.shape[1], images.x.shape[-1]
    model = initialised(
        lambda: VisionTransformer(
            size, patch, channels=channels, dim=dim, depth=depth, heads=heads
        ),
        seed,
    ).to(device)
    generator = torch.Generator().manual_seed(seed)
    train(
        model, images.x, images.y, generator=generator,
        optimizer="adamw", weight_decay=0.0, **first,
    )  # fmt: skip
    right, meters = {}, {}
    for label in labels:
        student, meters[label] = trained(label, model, images, seed, then)
        right[label] = accuracy(student, images.x_test, images.y_test)
    return right, meters


def correct(*, seed: int, device: str, **work: Any) -> TrialResult:
    """The share of test images put in their class."""
    right, _ = both((OURS, LSQ), seed=seed, device=device, **work)
    return TrialResult(right)


def oscillation(*, seed: int, device: str, **work: Any) -> TrialResult:
    """The share of 2-bit weights that oscillate at the end."""
    _, meters = both((OURS, LSQ), seed=seed, device=device, **work)
    curves = []
    for label, meter in meters.items():
        every = max(1, len(meter.oscillating) // 100)
        steps = range(every, len(meter.oscillating) + 1, every)
        curves.append(Curve(label, steps, [meter.oscillating[step - 1] for step in steps]))
    return TrialResult({label: meter.oscillating[-1] for label, meter in meters.items()}, curves)


QUICK = [
    {
        "data": "digits", "train_images": 1024, "patch": 2, "dim": 32, "depth": 1, "heads": 2,
        "first": {"epochs": 8, "batch": 64, "lr": 1e-2},
        "then": {"epochs": 5, "batch": 64, "lr": 5e-3},
    }
]  # fmt: skip
FULL = [
    {
        "data": "cifar10", "train_images": 10_000, "patch": 8, "dim": 48, "depth": 3, "heads": 3,
        "first": {"epochs": 8, "batch": 128, "lr": 2e-3},
        "then": {"epochs": 8, "batch": 128, "lr": 2e-3},
    }
]  # fmt: skip

CLAIMS = (
    Claim(
        paper=PAPER,
        name="fewer-oscillating-weights",
        statement=(
            "At the end of training a small vision transformer with 2-bit weights and activations, "
            "fewer weights oscillate with StatsQ, CGA and QKR than with LSQ, under the same budget."
        ),
        metric="share of 2-bit weights that change back with a frequency above 0.005",
        better="lower",
        ours=OURS,
        contenders=(LSQ,),
        effect=Effect("difference", 0.0),
        trial=oscillation,
        quick=Tier(QUICK, seeds=5, timeout=300),
        full=Tier(FULL, seeds=5, timeout=1800),
        axes=Axes("step", "share of oscillating weights"),
    ),
    Claim(
        paper=PAPER,
        name="higher-accuracy-at-2-bits",
        statement=(
            "A small vision transformer with 2-bit weights and activations reaches a higher test "
            "accuracy with StatsQ, CGA and QKR than with LSQ, under the same budget."
        ),
        metric="share of test images put in their class",
        better="higher",
        ours=OURS,
        contenders=(LSQ,),
        effect=Effect("difference", 0.0),
        trial=correct,
        quick=Tier(QUICK, seeds=5, timeout=300),
        full=Tier(FULL, seeds=5, timeout=1800),
    ),
)
