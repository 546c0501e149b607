"""The picture of docs/papers/generalization-difficulty.md: how bits grow with dimension and detail.

python tools/generalization_difficulty_figures.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paperworks.scaling import published_tasks

OUT = Path(__file__).parent.parent / "docs" / "papers" / "generalization-difficulty-growth.svg"


def main() -> None:
    known = published_tasks()
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, name in enumerate(("ImageNet", "CIFAR-10", "MNIST", "Half-Cheetah")):
        task, error = known[name].task, known[name].target_error
        m = np.linspace(0.5, 3, 60) * task.dimension
        bits = [replace(task, dimension=float(v)).complexity(error).log10_bits for v in m]
        left.plot(m, bits, color=f"C{color}", label=name)
        here = task.complexity(error).log10_bits
        left.plot(task.dimension, here, "o", color=f"C{color}")
        factors = np.geomspace(1, 10, 30)
        key = "class_distance" if hasattr(task, "class_distance") else "resolution"
        finer = [replace(task, **{key: getattr(task, key) / f}).complexity(error) for f in factors]
        right.plot(factors, [one.log10_bits for one in finer], color=f"C{color}")
        right.plot(1, here, "o", color=f"C{color}")
    left.set(xlabel="dimension, all else fixed", ylabel="log10 bits")
    right.set(xlabel="times finer resolution, all else fixed", ylabel="log10 bits", xscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(loc="best")
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
