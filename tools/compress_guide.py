"""Measure the tables of docs/guides/compress.md and write them there: ``make guide``.

Each row is kept in docs/guides/compress.json as soon as it is measured, so that an interrupted run
goes on where it stopped; remove that file, or rows of it, to measure anew. Needs WikiText-2 and
Fashion-MNIST (``paperworks data fetch wikitext-2-raw fashion-mnist``).
"""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from paperworks import data
from paperworks.claims._vision import (
    ImageData,
    accuracy,
    cross_entropy,
    initialised,
    load_images,
    train,
)
from paperworks.claims._vit import VisionTransformer
from paperworks.compression import (
    GPTQ,
    LLMFP4,
    NUPES,
    AdaRound,
    ConfidenceGuidedAnnealing,
    ElasticQuantization,
    GBLMPruner,
    GlobalMagnitudePruner,
    GroupProgressiveGuidance,
    LayerSummary,
    MagnitudePruner,
    MinMaxFP,
    QuantizationAware,
    RoundToNearest,
    SmoothQuant,
    SparseGPT,
    Wanda,
    describe,
    export_packed,
    export_subnet,
    weight_distribution_loss,
)
from paperworks.compression.describe import bits_per_weight
from paperworks.compression.masks import MaskedTraining
from paperworks.data.files import human_size
from paperworks.experiment.machine import commit as source_commit
from paperworks.experiment.machine import describe as describe_machine

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "compress.md"
KEPT = PAGE.with_suffix(".json")
BEGIN, END = "<!-- measured: written by `make guide` -->", "<!-- measured: end -->"

LANGUAGE = [
    ("magnitude", ["--prune", "magnitude:0.5"]),
    ("global magnitude", ["--prune", "global-magnitude:0.5"]),
    ("Wanda", ["--prune", "wanda:0.5"]),
    ("SparseGPT", ["--prune", "sparsegpt:0.5"]),
    ("GBLM-Pruner", ["--prune", "gblm:0.5"]),
    ("nearest integer, W4", ["--quantize", "rtn:w4"]),
    ("GPTQ, W4", ["--quantize", "gptq:w4"]),
    ("NUPES without data, W4", ["--quantize", "power:w4"]),
    ("LLM-FP4, W4", ["--quantize", "llm-fp4:w4"]),
    ("SmoothQuant, W4A4", ["--quantize", "smoothquant:w4a4"]),
    ("MinMax FP, W4A4", ["--quantize", "minmax-fp:w4a4"]),
    ("LLM-FP4, W4A4", ["--quantize", "llm-fp4:w4a4"]),
    ("GBLM-Pruner, then LLM-FP4, W4", ["--prune", "gblm:0.5", "--quantize", "llm-fp4:w4"]),
]


def main() -> None:
    rows: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for key, measure in [*vision(), *language()]:
        if key not in rows:
            print(key, flush=True)
            today = datetime.now(UTC).date().isoformat()
            rows[key] = measure() | {"date": today, "commit": source_commit()}
            KEPT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    head, rest = PAGE.read_text("utf-8").split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{tables(rows)}\n{END}{tail}", "utf-8")


def language() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """SmolLM2 on WikiText-2, each row by the command that a person would give."""
    for label, steps in LANGUAGE:
        yield f"language: {label}", lambda steps=steps: compressed(steps)


def compressed(steps: list[str]) -> dict[str, Any]:
    """The report of one ``paperworks compress``, but for its layers."""
    text = data.load("wikitext-2-raw")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "calibration.txt").write_text(text.valid, "utf-8")
        (folder / "heldout.txt").write_text(text.test, "utf-8")
        files = ["--calibration", folder / "calibration.txt", "--heldout", folder / "heldout.txt"]
        command = ["-m", "paperworks", "compress", *steps, *files, "--json"]
        done = subprocess.run(
            [sys.executable, *map(str, command), "--out", str(folder / "out")],
            stdout=subprocess.PIPE,
            check=True,
        )
    report = json.loads(done.stdout)
    layers = [LayerSummary(**each) for each in report.pop("layers")]
    inner = [each for each in layers if each.name != "model.embed_tokens"]
    return report | weight_of(inner) | {"command": " ".join(steps)}


EPOCHS, BATCH, LR = 10, 128, 2e-3


def vision_transformer() -> tuple[ImageData, nn.Module]:
    """Fashion-MNIST, and a small vision transformer trained on it in float32."""
    images = load_images("fashion-mnist", 10_000, 2_000, seed=0)
    model = initialised(lambda: VisionTransformer(28, 7, dim=64, depth=3, heads=4), seed=0)
    fit(model, images)
    return images, model.eval()


def fit(
    model: nn.Module,
    images: ImageData,
    after_step: Any = None,
    loss: Any = cross_entropy,
    lr: float = LR,
) -> None:
    """Train, and train again: every row that trains does so."""
    generator = torch.Generator().manual_seed(0)
    train(
        model, images.x, images.y, epochs=EPOCHS, batch=BATCH, lr=lr, generator=generator,
        optimizer="adamw", weight_decay=0.0, after_step=after_step, loss=loss,
    )  # fmt: skip


def calibrated(method: Any) -> Callable[[nn.Module, ImageData], nn.Module]:
    """A method that needs inputs alone: eight batches of 64 images."""
    return lambda model, images: method(model, list(images.x[:512].split(64)))


def gblm(model: nn.Module, images: ImageData) -> nn.Module:
    """GBLM-Pruner needs labels too, for its gradients."""
    x, y = images.x[:512], images.y[:512]
    samples = list(zip(x.split(8), y.split(8), strict=True))
    method = GBLMPruner(
        0.5, samples=samples, loss=lambda model, s: functional.cross_entropy(model(s[0]), s[1])
    )
    return method(model, list(x.split(64)))


def pruned_and_tuned(model: nn.Module, images: ImageData) -> nn.Module:
    """Global magnitude pruning as its paper has it: fine-tuned with the zeros held."""
    model = GlobalMagnitudePruner(0.9)(model)
    fit(model, images, MaskedTraining(model))
    return model


def aware(bits: int, weights: Any, query_key: bool) -> Callable[[nn.Module, ImageData], nn.Module]:
    """Quantization-aware training; ours anneals over the last tenth of the steps."""

    def change(model: nn.Module, images: ImageData) -> nn.Module:
        model = QuantizationAware(bits, weights=weights, query_key=query_key)(
            model, [images.x[:BATCH]]
        )
        annealing: list[ConfidenceGuidedAnnealing] = []

        def after_step(step: int, steps: int) -> None:
            for each in annealing:
                each.step()
            if weights == "statsq" and not annealing and step >= round(0.9 * steps):
                annealing.append(ConfidenceGuidedAnnealing(model))

        fit(model, images, after_step)
        return export_packed(model.eval())

    return change


_supernets: list[nn.Module] = []


def elastic(form: str) -> Callable[[nn.Module, ImageData], nn.Module]:
    """One supernet for all its rows; the first of them carries the time of training it."""

    def change(model: nn.Module, images: ImageData) -> nn.Module:
        if not _supernets:
            guidance = GroupProgressiveGuidance(np.random.default_rng(0))
            model = ElasticQuantization()(model, [images.x[:BATCH]])
            fit(
                model,
                images,
                loss=lambda model, x, y: guidance(model, x, y) + weight_distribution_loss(model),
                lr=LR / 2,  # EQ-Net's steps go below zero at more, with Adam
            )
            _supernets.append(model.eval())
        return export_subnet(copy.deepcopy(_supernets[0]), form)

    return change


VISION: dict[str, Callable[[nn.Module, ImageData], nn.Module]] = {
    "float32": lambda model, images: model,
    "magnitude, 50 % zeros": calibrated(MagnitudePruner(0.5)),
    "Wanda, 50 % zeros": calibrated(Wanda(0.5)),
    "SparseGPT, 50 % zeros": calibrated(SparseGPT(0.5)),
    "GBLM-Pruner, 50 % zeros": gblm,
    "global magnitude, 90 % zeros, fine-tuned": pruned_and_tuned,
    "nearest integer, W4": lambda model, images: RoundToNearest(4)(model),
    "NUPES without data, W4": lambda model, images: NUPES(4)(model),
    "AdaRound, W4": calibrated(AdaRound(4)),
    "GPTQ, W4": calibrated(GPTQ(4)),
    "NUPES, W4": calibrated(NUPES(4)),
    "nearest integer, W3": lambda model, images: RoundToNearest(3)(model),
    "NUPES without data, W3": lambda model, images: NUPES(3)(model),
    "AdaRound, W3": calibrated(AdaRound(3)),
    "NUPES, W3": calibrated(NUPES(3)),
    "SmoothQuant, W4A4": calibrated(SmoothQuant(4, 4)),
    "MinMax FP, W4A4": calibrated(MinMaxFP(4, 4)),
    "LLM-FP4, W4A4": calibrated(LLMFP4(4, 4)),
    "LSQ, W2A2, trained": aware(2, "lsq", query_key=False),
    "oscillation-free, W2A2, trained": aware(2, "statsq", query_key=True),
    "EQ-Net, W2A2, one training": elastic("w2a2-channel-sym-sym"),
    "EQ-Net, the same at W4A4": elastic("w4a4-channel-sym-sym"),
    "EQ-Net, the same at W8A8": elastic("w8a8-channel-sym-sym"),
}


def weight_of(layers: list[LayerSummary]) -> dict[str, Any]:
    """Bits and zeros over all layers."""
    weights = [math.prod(each.shape) for each in layers]
    zeros = sum(each.sparsity * size for each, size in zip(layers, weights, strict=True))
    return {"bits_per_weight": bits_per_weight(layers), "sparsity": zeros / sum(weights)}


def vision() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """All papers and their baselines on one small vision transformer."""
    made: list[tuple[ImageData, nn.Module]] = []

    def trained() -> tuple[ImageData, nn.Module]:
        if not made:
            made.append(vision_transformer())
        return made[0]

    for label, change in VISION.items():

        def measure(change: Any = change) -> dict[str, Any]:
            images, model = trained()
            model = copy.deepcopy(model)
            started = time.perf_counter()
            model = change(model, images)
            seconds = time.perf_counter() - started
            right = accuracy(model, images.x_test, images.y_test)
            return {"accuracy": right, "seconds": seconds} | weight_of(describe(model))

        yield f"vision: {label}", measure


def tables(rows: dict[str, Any]) -> str:
    """Both tables, in the order of the lists above."""
    machine = describe_machine("cpu")
    first = next(row for key, row in rows.items() if key.startswith("language: "))
    dates = sorted({row["date"] for row in rows.values()})
    lines = [
        "**SmolLM2-135M-Instruct on WikiText-2**, each row one `paperworks compress` with "
        f"its defaults: {first['windows']} sequences of {first['length']} tokens of the validation "
        f"text to calibrate on, the first {first['heldout_windows']} of the test text to measure. "
        f"Perplexity in float32 is {first['before']['perplexity']:.2f}, and the model takes "
        f"{human_size(first['before']['bytes'])}; bits and zeros are those of the layers in the "
        "blocks, the size on disk is of the whole model with its float32 embeddings.",
        "",
        "| method | options | perplexity | bits per weight | zeros | on disk | time | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, _ in LANGUAGE:
        if row := rows.get(f"language: {label}"):
            after = row["after"]
            lines.append(
                f"| {label} | `{row['command']}` | {after['perplexity']:.2f} "
                f"| {row['bits_per_weight']:.2f} | {row['sparsity']:.0%} "
                f"| {human_size(after['bytes_on_disk'])} | {row['seconds']:.0f} s "
                f"| {human_size(row['peak_memory'])} |"
            )
    lines += [
        "",
        "**A small vision transformer on Fashion-MNIST** (10,000 images, "
        f"{EPOCHS} epochs in float32; methods that train take {EPOCHS} more; the others see 512 "
        "images), on 2,000 test images:",
        "",
        "| method | accuracy | bits per weight | zeros | time |",
        "|---|---|---|---|---|",
    ]
    for label in VISION:
        if row := rows.get(f"vision: {label}"):
            lines.append(
                f"| {label} | {row['accuracy']:.1%} | {row['bits_per_weight']:.2f} "
                f"| {row['sparsity']:.0%} | {row['seconds']:.1f} s |"
            )
    lines += [
        "",
        f"Measured {' and '.join(dict.fromkeys((dates[0], dates[-1])))} on {machine['processor']}, "
        f"{machine['cores']} cores, no GPU, by `make guide`{_commits(rows)}.",
    ]
    return "\n".join(lines)


def _commits(rows: dict[str, Any]) -> str:
    """The commits that rows were measured at; the first ones did not note theirs."""
    known = sorted({str(row["commit"]) for row in rows.values() if row.get("commit")})
    return f", at {', '.join(known)}" if known else ""


if __name__ == "__main__":
    main()
