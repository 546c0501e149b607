"""Tasks from data, and the authors' program for each kind of task."""

from __future__ import annotations

import math
import os
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from paperworks.scaling import (
    ClassificationTask,
    ControlTask,
    MetaLearningTask,
    class_distance,
    inductive_bias_complexity,
    intrinsic_dimension,
    published_tasks,
)
from paperworks.scaling.generalization_difficulty.meta_learning import _episodes

OMNIGLOT = 1.7916191655852574e145  # the authors' program, as in the test
DATA = os.environ.get("PAPERWORKS_DATA")


def bands(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A cube with a gap of 0.2 between two classes."""
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
    X = X[abs(X[:, 0]) > 0.1]
    return X, np.where(X[:, 0] > 0, "right", "left")


def test_a_task_is_its_estimates() -> None:
    X, y = bands()
    task = ClassificationTask.from_data(X, y, rng=0)
    full = pairwise_distances(X)
    full[y[:, None] == y] = np.inf
    assert task.class_distance == pytest.approx(full.min())
    assert task.dimension == pytest.approx(intrinsic_dimension(X).dimension)
    assert task.radius == pytest.approx(np.linalg.norm(X, axis=1).max())
    assert (task.samples, task.classes) == (len(X), 2)
    found = task.complexity(0.02)
    expected = inductive_bias_complexity(
        task.dimension, task.radius, task.class_distance, len(X), 0.02, outputs=1, combinations=2
    )
    assert found.log10_bits == expected.log10_bits
    assert found.log10_low is not None
    assert found.log10_high is not None
    assert found.log10_low < found.log10_bits < found.log10_high
    narrow = task.complexity(0.02, confidence=0.5)
    assert narrow.log10_low > found.log10_low  # type: ignore[operator]


def test_evt_widens_the_interval() -> None:
    X, y = bands(3000)
    exact = ClassificationTask.from_data(X, y, rng=0)
    evt = ClassificationTask.from_data(X, y, class_distance="evt", pairs=100_000, tail=200, rng=0)
    assert evt.measured_distance is not None
    assert evt.measured_distance.method == "evt"
    wide, narrow = evt.complexity(0.01), exact.complexity(0.01)
    assert wide.log10_high - wide.log10_low > narrow.log10_high - narrow.log10_low  # type: ignore[operator]


def test_unit_and_repeated_rows() -> None:
    X, y = bands()
    task = ClassificationTask.from_data(X, y, rng=0)
    scaled = ClassificationTask.from_data(1e3 * X, y, rng=0)
    assert scaled.complexity(0.01).log10_bits == pytest.approx(task.complexity(0.01).log10_bits)
    twice = ClassificationTask.from_data(np.r_[X, X], np.r_[y, y], rng=0)
    assert twice.dimension == pytest.approx(task.dimension)
    assert twice.samples == 2 * len(X)
    assert any("equal to an earlier one" in w for w in twice.warnings)


def test_given_numbers_are_taken() -> None:
    X, y = bands()
    task = ClassificationTask.from_data(X, y, dimension=3, class_distance=0.2, rng=0)
    assert (task.dimension, task.class_distance) == (3, 0.2)
    assert task.measured_dimension is None
    assert task.complexity(0.01).log10_low is None
    moved = ClassificationTask.from_data(X + 50, y, dimension=3, center=True, rng=0)
    assert moved.radius == pytest.approx(np.linalg.norm(X - X.mean(0), axis=1).max())


def test_equal_inputs_of_two_classes() -> None:
    X, y = bands()
    X[1], y[0], y[1] = X[0], "left", "right"
    with pytest.raises(ValueError, match="points 0 and 1 are equal and carry different labels"):
        ClassificationTask.from_data(X, y)
    assert ClassificationTask.from_data(X, y, class_distance=0.1, rng=0).samples == len(X)


def test_one_class() -> None:
    with pytest.raises(ValueError, match="one class only"):
        ClassificationTask.from_data(np.eye(5), np.zeros(5))
    with pytest.raises(ValueError, match="classes must be >= 2, got 1"):
        ClassificationTask(3, 1, 0.1, 10, 1)
    with pytest.raises(ValueError, match="radius must be a finite number > 0, got -1"):
        ClassificationTask(3, -1, 0.1, 10, 2)


# combined_task_diff of the authors' program for (row beside column), with its printed numbers.
COMBINED = {
    ("MNIST", "SVHN"): 5.90240240697889e39,
    ("MNIST", "CIFAR-10"): 8.383366407095368e44,
    ("ImageNet", "CIFAR-10"): 3.503021892607888e48,
    ("ImageNet", "ImageNet"): 4.546633730174577e65,
}


@pytest.mark.parametrize(("first", "second"), COMBINED)
def test_two_tasks_at_once(first: str, second: str) -> None:
    known = published_tasks()
    one, two = known[first], known[second]
    assert isinstance(one.task, ClassificationTask)
    assert isinstance(two.task, ClassificationTask)
    both = one.task.combined_with(two.task)
    # The authors' program returns one number more: all classes instead of one less.
    theirs = inductive_bias_complexity(
        both.dimension, both.radius, both.class_distance, both.samples, one.target_error,
        outputs=one.task.classes, combinations=one.task.classes * two.task.classes,
    )  # fmt: skip
    assert theirs.bits == pytest.approx(COMBINED[first, second], rel=1e-9)
    ours = both.complexity(one.target_error)
    share = (one.task.classes - 1) / one.task.classes
    assert ours.bits / theirs.bits == pytest.approx(share, rel=0.02)
    assert both.name == f"{first} beside {second}"


def test_measured_tasks_are_combined_with_their_draws() -> None:
    X, y = bands()
    one = ClassificationTask.from_data(X, y, rng=0, name="a")
    two = ClassificationTask(4, 1.0, 0.1, 100, 3)
    both = one.combined_with(two)
    assert both.draws.shape == one.draws.shape
    np.testing.assert_allclose(both.draws[:, 0], one.draws[:, 0] + 4)
    assert both.complexity(0.01).log10_low is not None
    assert two.combined_with(one).class_distance == 0.1
    assert both.combined_with(two).distractors == 9


def test_omniglot_of_the_authors() -> None:
    # omniglot_difficulty(0.01, 3 * 20**20, 22, 29, 49.4064773081425, 5.477225575051661)
    task = MetaLearningTask(22, 29, 49.4064773081425, 5.477225575051661, 3 * 20**20)
    assert task.complexity(0.01).bits == pytest.approx(OMNIGLOT, rel=1e-10)


def test_episodes_are_counted() -> None:
    sizes, groups = np.array([2, 3, 1, 4, 5]), np.array([0, 0, 0, 1, 1])
    expected = sum(
        math.prod(int(sizes[i]) for i in chosen)
        for g in (0, 1)
        for chosen in combinations(np.flatnonzero(groups == g), 2)
    )
    assert _episodes(sizes, groups, 2) == expected
    # The paper's count: any 20 characters of an alphabet, one of 20 hands for each.
    assert _episodes(np.full(26, 20), np.zeros(26, int), 20) == comb(26, 20) * 20**20


def few_shot(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three groups of four classes; each class a short line in a plane of its group."""
    rng = np.random.default_rng(seed)
    X, y, g = [], [], []
    for group in range(3):
        plane = np.linalg.qr(rng.standard_normal((6, 2)))[0].T
        for label in range(4):
            place = rng.random((60, 2)) * [0.8, 3] + [label, 0]
            X.append(place @ plane + 5 * group)
            y += [f"{group}-{label}"] * 60
            g += [group] * 60
    return np.concatenate(X), np.array(y), np.array(g)


def test_meta_learning_from_data() -> None:
    X, y, g = few_shot()
    task = MetaLearningTask.from_data(X, y, g, ways=3, rng=0)
    assert task.class_dimension == pytest.approx(2, abs=0.25)
    assert task.class_distance == pytest.approx(class_distance(X, y).distance)
    assert task.samples == 3 * comb(4, 3) * 60**3
    found = task.complexity(0.01)
    assert found.log10_low < found.log10_bits < found.log10_high  # type: ignore[operator]
    with pytest.raises(ValueError, match="no group has 5 classes, the most is 4"):
        MetaLearningTask.from_data(X, y, g, ways=5)
    with pytest.raises(ValueError, match="lies in more than one group"):
        MetaLearningTask.from_data(X, np.array([v[-1] for v in y]), g, ways=2)
    with pytest.raises(ValueError, match="ways must be >= 2, got 1"):
        MetaLearningTask(2, 3, 1, 0.1, 10, ways=1)
    with pytest.raises(ValueError, match="target_error must be a finite number > 0, got 0"):
        task.complexity(0)


# rl_difficulty(T) of the authors' program: cartpole seen through T observations of two numbers.
CARTPOLE = [4414675128.088124, 3.325660799875813e17, 1.4639013134073883e25, 4.689099133238454e32,
            1.1872522946196583e40]  # fmt: skip


@pytest.mark.parametrize("seen", range(1, 6))
def test_cartpole_of_the_authors(seen: int) -> None:
    found = ControlTask(2 * seen, 1, 10_000).complexity(0.001)
    assert found.bits == pytest.approx(CARTPOLE[seen - 1], rel=1e-12)


def pendulum(episodes: int, steps: int, seed: int) -> list[np.ndarray]:
    """Noisy states (angle, speed) of a driven pendulum."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(episodes):
        x, v = rng.uniform(-2, 2, 2)
        path = []
        for _ in range(steps):
            v += 0.1 * (-np.sin(x) + rng.normal(0, 0.5))
            x += 0.1 * v
            path.append((x, v))
        found.append(np.array(path))
    return found


def test_control_from_trajectories() -> None:
    episodes = pendulum(30, 60, 0)
    one = ControlTask.from_trajectories(episodes, 1, rng=0)
    assert one.dimension == pytest.approx(2, abs=0.3)
    assert one.samples == 30 * 60
    hidden = [np.c_[e[:, :1], np.ones(60)] for e in episodes]  # the speed is not seen
    assert ControlTask.from_trajectories(hidden, 1, rng=0).dimension == pytest.approx(1, abs=0.1)
    two = ControlTask.from_trajectories(hidden, 1, history=2, rng=0)
    assert two.dimension == pytest.approx(2, abs=0.3)
    assert one.complexity(0.001).log10_low is not None


def test_neighbours_come_from_other_episodes() -> None:
    rng = np.random.default_rng(0)
    # Two observations a moment apart: within an episode the neighbour is as near as one likes.
    moment = 1e-6 * np.array([[0.0, 0.0], [1.0, 0.5]])
    pairs = [rng.random(2) + moment * rng.random() for _ in range(400)]
    assert 1.6 < ControlTask.from_trajectories(pairs, 1, rng=0).dimension < 3


def test_control_refuses() -> None:
    episodes = pendulum(3, 10, 0)
    with pytest.raises(ValueError, match="two episodes or more are needed, got 1"):
        ControlTask.from_trajectories(episodes[:1], 1)
    with pytest.raises(ValueError, match="history must be >= 1, got 0"):
        ControlTask.from_trajectories(episodes, 1, history=0)
    with pytest.raises(ValueError, match="episode 0 must be a table of 11 observations"):
        ControlTask.from_trajectories(episodes, 1, history=11)
    with pytest.raises(ValueError, match="observations are constant"):
        ControlTask.from_trajectories([np.ones((9, 2)), np.ones((9, 2))], 1)
    with pytest.raises(ValueError, match="outputs must be a finite number > 0, got 0"):
        ControlTask(3, 0, 100)


@pytest.mark.slow
@pytest.mark.skipif(
    not DATA or not Path(DATA, "mnist").is_dir(), reason="PAPERWORKS_DATA holds no MNIST"
)
def test_mnist_has_the_authors_numbers() -> None:
    """Radius and class distance of all 60,000 images; the dimension, rounded, from 2,000."""
    from paperworks.data import load

    data = load("mnist")
    published = published_tasks()["MNIST"].task
    assert isinstance(published, ClassificationTask)
    task = ClassificationTask.from_data(
        data.x_train / np.float32(255), data.y_train, queries=2000, resamples=20, rng=0
    )
    assert task.radius == pytest.approx(published.radius, rel=1e-6)
    assert task.class_distance == pytest.approx(published.class_distance, rel=1e-6)
    assert round(task.dimension) == published.dimension
