"""What is kept, against brute force; and ``prune_dataset`` from end to end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperworks.scaling import prune_dataset
from paperworks.scaling.data_pruning import select
from paperworks.scaling.data_pruning.metrics import METRICS


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=9),
    st.data(),
    st.sampled_from(["hard", "easy"]),
    st.sampled_from([0.0, 0.5, 0.75, 1.0]),
)
def test_no_subset_that_keeps_the_floors_has_a_better_sum(scores, data, order, balance) -> None:
    n = len(scores)
    y = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    keep = data.draw(st.integers(1, n))
    kept = select(scores, keep, order=order, y=y, balance=balance)
    assert kept.size == keep
    assert (np.diff(kept) > 0).all()
    floors = {c: int(balance * keep * y.count(c) / n + 1e-9) for c in set(y)}
    sign = 1 if order == "hard" else -1
    best = max(
        sign * sum(scores[i] for i in subset)
        for subset in itertools.combinations(range(n), keep)
        if all(sum(y[i] == c for i in subset) >= floor for c, floor in floors.items())
    )
    assert sign * sum(scores[i] for i in kept) == best
    assert all(sum(y[i] == c for i in kept) >= floor for c, floor in floors.items())


def test_balance_one_prunes_all_classes_alike() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [100, 50, 10])
    scores = rng.random(160) + (y == "a") * 2.0
    assert np.unique(y[select(scores, 0.5, y=y, balance=1.0)], return_counts=True)[1].tolist() == [
        50, 25, 5,
    ]  # fmt: skip
    assert (y[select(scores, 0.5, y=y, balance=0.0)] == "a").all()
    half = np.unique(y[select(scores, 0.5, y=y, balance=0.5)], return_counts=True)[1]
    assert half.tolist() == [66, 12, 2]


def test_ties_are_broken_at_random_and_repeatably() -> None:
    first = [select(np.zeros(100), 0.3, rng=seed) for seed in range(200)]
    np.testing.assert_array_equal(first[3], select(np.zeros(100), 0.3, rng=3))
    shares = np.bincount(np.concatenate(first), minlength=100) / 200
    assert abs(shares - 0.3).max() < 5 * (0.3 * 0.7 / 200) ** 0.5


def test_infinite_scores_rank_and_order_turns_them() -> None:
    scores = [1.0, np.inf, -np.inf, 2.0]
    assert select(scores, 2).tolist() == [1, 3]
    assert select(scores, 2, order="easy").tolist() == [0, 2]


def test_a_share_and_a_number() -> None:
    assert select(np.arange(10.0), 1).tolist() == [9]
    assert select(np.arange(10.0), 1.0).size == 10
    assert select(np.arange(10.0), 0.25).size == 2
    assert select(np.arange(10.0), 0.01).size == 1
    assert select(np.arange(10.0), np.int64(4)).size == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.0}, r"share in \(0, 1\] or a whole number, got 0"),
        ({"keep": 1.5}, "got 1.5"),
        ({"keep": 11}, "between 1 and 10, all there are"),
        ({"keep": True}, "got True"),
        ({"keep": "half"}, "got 'half'"),
        ({"keep": 0.5, "order": "top"}, "order must be 'hard' or 'easy', got 'top'"),
        ({"keep": 0.5, "balance": 2.0}, r"balance must be in \[0, 1\], got 2"),
        ({"keep": 0.5, "y": [1, 2]}, "one label for each of 10 examples"),
    ],
)
def test_refusals(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        select(np.arange(10.0), **options)


def test_nan_is_refused_by_its_place() -> None:
    with pytest.raises(ValueError, match="NaN at 1 examples, the first is 2"):
        select([0.0, 1.0, np.nan], 1)
    with pytest.raises(ValueError, match="one number per example"):
        select(np.zeros((2, 2)), 1)


# prune_dataset


def blobs(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (np.eye(3)[y] * 7 + rng.standard_normal((n, 3))).astype(np.float32), y


def network():
    import torch

    return torch.nn.Linear(3, 3)


def fast(parameters):
    import torch

    return torch.optim.Adam(parameters, lr=0.05)


def options(metric: str) -> dict:
    if metric in ("prototypes", "supervised-prototypes", "random"):
        return {}
    if metric == "memorization":
        from sklearn.neighbors import KNeighborsClassifier

        return {"model": KNeighborsClassifier(1), "models": 40}
    if metric == "grand":
        return {"model": network, "models": 2, "epochs": 10, "optimizer": fast}
    return {"model": network, "models": 2, "optimizer": fast}


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_scores_and_repeats(metric: str) -> None:
    import torch

    x, y = blobs()
    y[:3] = (y[:3] + 1) % 3  # wrong labels
    state = torch.get_rng_state()
    result = prune_dataset(x, y, keep=0.5, metric=metric, rng=4, **options(metric))
    assert torch.equal(state, torch.get_rng_state())
    again = prune_dataset(x, y, keep=0.5, metric=metric, rng=4, **options(metric))
    np.testing.assert_array_equal(result.scores, again.scores)
    np.testing.assert_array_equal(result.kept, again.kept)
    assert result.metric == metric
    assert result.kept.size == 60
    assert np.union1d(result.kept, result.pruned).size == 120
    assert result.mask.sum() == 60
    assert sum(after for _, after in result.classes.values()) == 60
    # Whatever looks at labels finds wrong ones hard: in the upper third, by the mean.
    if metric not in ("prototypes", "random"):
        ranks = result.scores.argsort().argsort()
        assert ranks[:3].mean() > 80, metric


def test_memorization_of_a_network_from_its_factory() -> None:
    x, y = blobs(60)
    result = prune_dataset(
        x, y, keep=0.5, metric="memorization", model=network, models=30, epochs=2, batch_size=16
    )
    assert (abs(result.scores) <= 1).all()
    with pytest.raises(ValueError, match="'epochs' is an option of torch models"):
        prune_dataset(x, y, keep=0.5, metric="memorization", epochs=2, **options("memorization"))


def test_scores_and_callables() -> None:
    x, _ = blobs()
    by_norm = prune_dataset(x, keep=10, metric=lambda data, labels: (data**2).sum(1))
    np.testing.assert_array_equal(by_norm.kept, np.sort(np.argsort((x**2).sum(1))[-10:]))
    from_scores = prune_dataset(keep=10, scores=(x**2).sum(1), order="easy")
    np.testing.assert_array_equal(from_scores.kept, np.sort(np.argsort((x**2).sum(1))[:10]))
    assert from_scores.classes == {}


def test_what_prune_dataset_refuses() -> None:
    x, y = blobs()
    for wrong, words in (
        ({}, "give data to score, or scores"),
        ({"data": x, "metric": "el3n"}, "metric must be one of prototypes, .*, got 'el3n'"),
        ({"data": x, "metric": "el2n"}, "'el2n' needs labels y; 'prototypes' needs none"),
        ({"data": x, "y": y, "metric": "el2n"}, "trains models: give model="),
        ({"data": x, "y": y, "metric": "el2n", "model": network, "models": 0}, "models must be >="),
        ({"data": x, "scores": y, "metric": "random"}, "leave out 'metric'"),
        ({"data": x, "scores": y, "clusters": 3}, "leave out 'clusters'"),
        ({"data": x, "scores": [1.0]}, "data hold 120 examples and scores 1"),
        ({"data": x, "metric": lambda a, b: [1.0]}, "gave 1 scores for 120 examples"),
        ({"data": x, "y": y[:5]}, "one label for each of 120"),
    ):
        with pytest.raises(ValueError, match=words):
            prune_dataset(keep=0.5, **wrong)
    with pytest.raises(TypeError, match="clusterz"):
        prune_dataset(x, keep=0.5, clusterz=3)
