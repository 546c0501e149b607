"""The measured tables of docs/papers/generalization-difficulty.md, as Markdown.

    python tools/generalization_difficulty_table.py

Needs PAPERWORKS_DATA with MNIST, Fashion-MNIST, CIFAR-10 and Omniglot's small sets; two to five
minutes on one core.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from paperworks.data import load
from paperworks.scaling import ClassificationTask, MetaLearningTask, class_distance

SETS = ("digits", "mnist1d", "mnist", "fashion-mnist", "cifar10")


def images() -> None:
    print("| training set | n | dimension | k = 2, 5, 10 | radius | distance | bits at 0.01 | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in SETS:
        data = load(name)
        X = data.x_train
        if X.dtype == np.uint8:
            X = X / np.float32(16 if name == "digits" else 255)
        start = time.perf_counter()
        task = ClassificationTask.from_data(X, data.y_train, rng=0)
        seconds = time.perf_counter() - start
        found = task.measured_dimension
        assert found is not None
        by_k = ", ".join(f"{value:.1f}" for value in found.by_k.values())
        print(
            f"| {name} | {task.samples:,} | {found.dimension:.2f} ({found.low:.2f} to "
            f"{found.high:.2f}) | {by_k} | {task.radius:.4g} | {task.class_distance:.5g} | "
            f"{str(task.complexity(0.01)).replace(' bits', '')} | {seconds:.0f} |",
            flush=True,
        )


def distances() -> None:
    print("\n| training set | every pair | extreme values, seeds 0 to 2 | intervals | gamma |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("mnist", "fashion-mnist", "cifar10"):
        data = load(name)
        X = data.x_train / np.float32(255)
        exact = class_distance(X, data.y_train, method="exact").distance
        found = [class_distance(X, data.y_train, method="evt", rng=seed) for seed in range(3)]
        values = ", ".join(f"{one.distance:.2f}" for one in found)
        spans = ", ".join(f"{one.low:.2f} to {one.high:.2f}" for one in found)
        indices = ", ".join(f"{one.tail_index:.2f}" for one in found)
        print(f"| {name} | {exact:.3f} | {values} | {spans} | {indices} |", flush=True)


def omniglot() -> None:
    folder = Path(os.environ["PAPERWORKS_DATA"], "omniglot")
    parts = [np.load(folder / f"images_background_small{i}.npz") for i in (1, 2)]
    names = np.concatenate([p["alphabet_names"][p["alphabet"]] for p in parts])
    letters = np.concatenate([p["character"] for p in parts])
    X = np.concatenate([p["images"] for p in parts])
    y = np.array([f"{name} {letter}" for name, letter in zip(names, letters, strict=True)])
    # Greek and Latin are in both sets: their second copies go.
    first = np.sort(np.unique(X.reshape(len(X), -1), axis=0, return_index=True)[1])
    task = MetaLearningTask.from_data(X[first], y[first], names[first], rng=0)
    print(
        f"\nOmniglot, {len(first):,} drawings, {len(set(y))} characters, "
        f"{len(set(names))} alphabets: within alphabets {task.class_dimension:.1f}, over all "
        f"{task.group_dimension:.1f}, radius {task.radius:.1f}, distance "
        f"{task.class_distance:.3f}, {task.samples:.3g} episodes, {task.complexity(0.01)} at 0.01"
    )
    print("warnings:", task.warnings)


if __name__ == "__main__":
    images()
    distances()
    omniglot()
