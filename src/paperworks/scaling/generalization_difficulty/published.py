"""The tasks of the paper by its authors' numbers: landmarks to set a task of one's own beside.

The numbers stand in the authors' program, ``task_difficulty.py`` of
FieteLab/inductive-bias-complexity (commit 1907c6d). Radii are of pixels in [0, 1]; those of MNIST,
SVHN and CIFAR-10 are printed among its combined tasks. Its Hopper has four outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from paperworks.scaling.generalization_difficulty.classification import ClassificationTask
from paperworks.scaling.generalization_difficulty.complexity import Complexity
from paperworks.scaling.generalization_difficulty.control import ControlTask


@dataclass(frozen=True)
class PublishedTask:
    """A task with the error that the paper asks for on it."""

    task: ClassificationTask | ControlTask
    target_error: float

    def complexity(self) -> Complexity:
        """Its complexity at that error."""
        return self.task.complexity(self.target_error)


def published_tasks() -> dict[str, PublishedTask]:
    """The paper's image and control tasks, from its authors' numbers, easiest first.

    Returns
    -------
    dict of str to PublishedTask
        With ``task`` (a :class:`ClassificationTask` or :class:`ControlTask`), ``target_error`` and
        ``complexity()``. Omniglot is not among them: its number of episodes is counted from files.

    Examples
    --------
    >>> for name, published in published_tasks().items():
    ...     print(f"{name:<12} {published.task.dimension:>3} {published.complexity()}")
    MNIST         14 1.5e16 bits
    Reacher        6 2.9e25 bits
    SVHN          19 1.2e31 bits
    CIFAR-10      27 3.4e32 bits
    ImageNet      48 3.6e41 bits
    Hopper        15 7.6e58 bits
    Half-Cheetah  17 1.7e66 bits
    """
    images = (
        ("MNIST", 14, 17.179045827183984, 2.3987084824335305, 60_000, 10, 0.001),
        ("SVHN", 19, 53.86932485133339, 1.5766998174969105, 73_257, 10, 0.01),
        ("CIFAR-10", 27, 54.9156786783691, 2.7506414616587023, 50_000, 10, 0.01),
        ("ImageNet", 48, 943.5923, 65.0, 1_280_901, 1000, 0.1),
    )
    control = (("Reacher", 6, 2), ("Hopper", 15, 4), ("Half-Cheetah", 17, 6))
    found = [
        PublishedTask(ClassificationTask(m, radius, distance, n, classes, name=name), error)
        for name, m, radius, distance, n, classes, error in images
    ]
    found += [
        PublishedTask(ControlTask(m, actions, 1_000_000, name=name), 0.001)
        for name, m, actions in control
    ]
    found.sort(key=lambda published: published.complexity().log10_bits)
    return {published.task.name: published for published in found}
