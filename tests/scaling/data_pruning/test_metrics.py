"""Every score against its definition written out, or against another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import KNeighborsClassifier

from paperworks.scaling.data_pruning import (
    TrainingDynamics,
    el2n,
    estimate_memorization,
    grand,
    influence,
    margin,
    memorization,
    prototypes,
    random_subsets,
    supervised_prototypes,
    train,
)
from paperworks.scaling.data_pruning.training import logits_of


def test_el2n_is_the_brier_score_in_disguise() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.standard_normal((3, 40, 5)), rng.integers(0, 5, 40)
    p = torch.softmax(torch.tensor(logits), -1).numpy()
    wanted = [
        np.mean([np.linalg.norm(p[m, i] - np.eye(5)[y[i]]) for m in range(3)]) for i in range(40)
    ]
    np.testing.assert_allclose(el2n(logits, y), wanted, rtol=1e-12)
    np.testing.assert_allclose(el2n(torch.tensor(logits), torch.tensor(y)), wanted, rtol=1e-12)
    np.testing.assert_allclose(el2n(logits[0], y), el2n(logits[:1], y))


def test_margins_by_a_loop() -> None:
    rng = np.random.default_rng(1)
    logits, y = rng.standard_normal((40, 5)), rng.integers(0, 5, 40)
    before = logits.copy()
    with_labels = [
        max(row[j] for j in range(5) if j != c) - row[c] for row, c in zip(logits, y, strict=True)
    ]
    np.testing.assert_allclose(margin(logits, y), with_labels)
    p = np.sort(torch.softmax(torch.tensor(logits), -1).numpy(), axis=1)
    np.testing.assert_allclose(margin(logits), p[:, -2] - p[:, -1])
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    ("logits", "y", "words"),
    [
        ([[1.0], [2.0]], [0, 0], "two classes or more"),
        ([[1.0, np.inf]], [0], "training has probably diverged"),
        ([[1.0, 2.0]], [2], "0 to 1, the columns of logits, got 2"),
        ([[1.0, 2.0]], [0.0], "whole numbers"),
        ([[1.0, 2.0]], [0, 1], "1 whole numbers"),
    ],
)
def test_outputs_refused(logits: list, y: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        el2n(logits, y)


def by_history(history: np.ndarray, presentations: int) -> list[int]:
    """Toneva et al. from the whole history of right and wrong, as their script counts it."""
    return [
        int((np.diff(row) == -1).sum()) if row.any() else presentations
        for row in history.T.astype(int)
    ]


def test_forgetting_from_a_history() -> None:
    rng = np.random.default_rng(2)
    n, epochs = 50, 12
    right = rng.random((epochs, n)) < rng.random(n)
    right[:, :3] = False
    dynamics = TrainingDynamics(n)
    errors, margins = np.zeros(n), np.zeros(n)
    for epoch in right:
        for at in np.array_split(rng.permutation(n), 4):
            logits = np.stack([epoch[at] * 2.0, np.ones(at.size)], axis=1)
            dynamics.record(at, logits, np.zeros(at.size, dtype=int))
            errors[at] += el2n(logits, np.zeros(at.size, dtype=int)) / epochs
            margins[at] += (1 - epoch[at] * 2.0) / epochs
    assert dynamics.forgetting().tolist() == by_history(right, epochs)
    assert dynamics.forgetting()[:3].tolist() == [epochs] * 3
    np.testing.assert_allclose(dynamics.el2n(), errors)
    np.testing.assert_allclose(dynamics.margin(), margins, atol=1e-12)


def test_dynamics_refuse() -> None:
    dynamics = TrainingDynamics(4)
    for indices, words in (
        ([4], "0 to 3, got 4 to 4"),
        ([-1], "got -1"),
        ([0, 0], "must be distinct"),
        ([0.5], "whole numbers"),
        ([0, 1], r"logits must be \(2, C\)"),
    ):
        with pytest.raises(ValueError, match=words):
            dynamics.record(indices, np.zeros((1, 2)), [0])
    dynamics.record([0, 2], np.zeros((2, 2)), [0, 1])
    with pytest.raises(ValueError, match="2 of 4 examples were never recorded, the first is 1"):
        dynamics.forgetting()
    with pytest.raises(ValueError, match="n must be >= 1"):
        TrainingDynamics(0)


def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(3 * 4 * 4, 4),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grand_by_one_backward_pass_each(dtype: torch.dtype) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = [network().to(dtype) for _ in range(2)]
        x, y = torch.randn(7, 1, 6, 6, dtype=dtype), torch.randint(0, 4, (7,))
    models[1].train()
    wanted, last = np.zeros(7), np.zeros(7)
    for model in models:
        mode = model.training
        model.eval()
        for i in range(7):
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
            squares = {
                n: float(p.grad.double().square().sum()) for n, p in model.named_parameters()
            }
            wanted[i] += sum(squares.values()) ** 0.5 / 2
            last[i] += (squares["5.weight"] + squares["5.bias"]) ** 0.5 / 2
        model.zero_grad()
        model.train(mode)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(grand(models, x, y, batch_size=3), wanted, rtol=tolerance)
    only = grand(models, x, y, parameters=lambda name: name.startswith("5."))
    np.testing.assert_allclose(only, last, rtol=tolerance)
    assert models[1].training
    assert models[1][3].training
    assert all(p.grad is None for p in models[0].parameters())


def test_grand_with_another_loss_and_what_it_refuses() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    y = model(x)[:, 0].detach() - 1.0  # each residual is 1, so that the gradient is 2 x

    def squares(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (out[:, 0] - target).square().mean()

    np.testing.assert_allclose(grand(model, x, y, loss=squares), [10.0, 2.0], rtol=1e-5)
    with pytest.raises(ValueError, match="at least one module"):
        grand([], x, y)
    with pytest.raises(ValueError, match="no parameter counts; there are: weight"):
        grand(model, x, y, parameters=lambda name: False)
    with pytest.raises(ValueError, match="x holds 2 examples and y 1"):
        grand(model, x, y[:1])
    with pytest.raises(ValueError, match="batch_size"):
        grand(model, x, y, batch_size=0)


def test_memorization_and_influence_by_a_loop() -> None:
    rng = np.random.default_rng(3)
    subsets, right = rng.random((20, 6)) < 0.6, rng.random((20, 6)) < 0.5
    subsets[0], subsets[1] = True, False
    wanted = [right[subsets[:, i], i].mean() - right[~subsets[:, i], i].mean() for i in range(6)]
    np.testing.assert_allclose(memorization(subsets, right), wanted)
    on_test = rng.random((20, 3)) < 0.5
    pairs = [
        [on_test[subsets[:, i], j].mean() - on_test[~subsets[:, i], j].mean() for j in range(3)]
        for i in range(6)
    ]
    np.testing.assert_allclose(influence(subsets, on_test), pairs)
    np.testing.assert_allclose(np.diag(influence(subsets, right)), wanted)


def test_memorization_of_one_nearest_neighbour_is_known() -> None:
    """1-NN is right on a seen example, and on an unseen one where its nearest seen one agrees."""
    rng = np.random.default_rng(4)
    x = rng.random((25, 1))
    y = rng.integers(0, 2, 25)
    found = estimate_memorization(KNeighborsClassifier(1), x, y, models=60, test=(x, y), rng=5)
    assert (found.seen == 1).all()
    for i in range(25):
        out = found.subsets[~found.subsets[:, i]]
        hits = []
        for mask in out:
            seen = np.flatnonzero(mask)
            hits.append(y[seen[np.argmin(abs(x[seen, 0] - x[i, 0]))]] == y[i])
        assert found.scores[i] == pytest.approx(1 - np.mean(hits))
    np.testing.assert_allclose(np.diag(found.influence), found.scores)
    assert (found.error > 0).all()
    exact = estimate_memorization(KNeighborsClassifier(1), x, y, models=300, rng=6)
    assert (abs(found.scores - exact.scores) < 5 * found.error).all()


def test_subsets_and_what_memorization_refuses() -> None:
    masks = random_subsets(11, 400, 0.3, rng=0)
    assert (masks.sum(1) == 3).all()
    assert abs(masks.mean(0) - 3 / 11).max() < 5 * (0.27 * 0.73 / 400) ** 0.5
    with pytest.raises(ValueError, match="share must be in"):
        random_subsets(5, 3, 1.0)
    with pytest.raises(ValueError, match="must be >= 2, got 5 and 1"):
        random_subsets(5, 1)
    with pytest.raises(ValueError, match="1 examples, the first is 0, are in all of the 2"):
        memorization([[1, 0], [1, 1]], [[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="must be alike"):
        memorization([[1, 0]], [[1]])
    with pytest.raises(ValueError, match="correct must hold true and false alone"):
        memorization([[1, 0], [0, 1]], [[2, 0], [0, 1]])
    with pytest.raises(ValueError, match="x holds 3 examples and y 2"):
        estimate_memorization(KNeighborsClassifier(1), np.zeros((3, 1)), [0, 1])
    with pytest.raises(ValueError, match=r"\(M, n\) and correct"):
        influence([[1, 0]], [[1], [0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prototypes_are_scikit_learns(dtype: type) -> None:
    rng = np.random.default_rng(6)
    centers = rng.standard_normal((6, 16))
    x = (centers[rng.integers(0, 6, 300)] * 3 + rng.standard_normal((300, 16))).astype(dtype)
    found = prototypes(x, 6, rng=0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    seed = int(np.random.default_rng(0).integers(2**31))
    means = KMeans(6, n_init=1, random_state=seed, max_iter=25).fit(unit.astype(dtype))
    distances = cosine_distances(x.astype(np.float64), means.cluster_centers_)
    np.testing.assert_allclose(found.scores, distances.min(1), atol=1e-6)
    np.testing.assert_array_equal(found.assigned, distances.argmin(1))
    assert found.centers.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1, rtol=1e-6)
    scaled = prototypes(x * rng.uniform(1, 9, (300, 1)).astype(dtype), 6, rng=0)
    np.testing.assert_allclose(scaled.scores, found.scores, atol=1e-5)


def test_a_sample_comes_near_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paperworks.scaling.data_pruning.clusters._PER_CENTER", 50)
    rng = np.random.default_rng(7)
    centers = rng.standard_normal((20, 32))
    x = centers[rng.integers(0, 20, 4000)] * 2 + rng.standard_normal((4000, 32))
    every = prototypes(x, 20, method="all", rng=0)
    some = prototypes(x, 20, method="sample", rng=0)
    by_points = cosine_distances(x, x[:20]).min(1)  # points for centres
    assert some.scores.mean() < 1.5 * every.scores.mean() < 0.75 * by_points.mean()
    np.testing.assert_array_equal(prototypes(x, 20, rng=0).scores, every.scores)
    monkeypatch.setattr("paperworks.scaling.data_pruning.clusters._ALL", 1000)
    np.testing.assert_array_equal(prototypes(x, 20, rng=0).scores, some.scores)
    assert not np.array_equal(some.scores, every.scores)


def test_supervised_prototypes_by_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paperworks.scaling.data_pruning.clusters._CHUNK", 64)
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((50, 4)), rng.choice(["u", "v", "w"], 50)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    wanted = [
        cosine_distances(x[i : i + 1], unit[y == y[i]].mean(0)[None])[0, 0] for i in range(50)
    ]
    np.testing.assert_allclose(supervised_prototypes(x, y).scores, wanted, atol=1e-12)
    torch_scores = supervised_prototypes(torch.tensor(x), y).scores
    np.testing.assert_allclose(torch_scores, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "given", "words"),
    [
        (np.ones(3), {}, r"embeddings must be \(n, d\)"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), {}, "row 1 of the embeddings is zero"),
        (np.array([[np.nan, 0.0]]), {}, "row 0 of the embeddings is not finite"),
        (np.ones((3, 2), dtype=complex), {}, "real numbers"),
        (np.ones((3, 2)), {"clusters": 4}, "between 1 and 3"),
        (np.ones((3, 2)), {"method": "fast"}, "got 'fast'"),
        (np.ones((3, 2)), {"iterations": 0}, "iterations must be >= 1"),
    ],
)
def test_embeddings_refused(x: np.ndarray, given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prototypes(x, **given)


def test_training_learns_repeats_and_leaves_the_global_seed() -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((200, 2))
    y = (x[:, 0] > 0).astype(int)
    state = torch.get_rng_state()
    make = lambda: torch.nn.Linear(2, 2)  # noqa: E731
    fast = lambda p: torch.optim.Adam(p, lr=0.05)  # noqa: E731
    models = [train(make, x, y, epochs=30, batch_size=20, seed=1, optimizer=fast) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(models[0].weight, models[1].weight)
    assert not models[0].training
    assert (logits_of(models[0], x, batch_size=64).argmax(1) == y).mean() > 0.95
    start = train(make, x, y, epochs=0, seed=1)
    assert not torch.equal(start.weight, train(make, x, y, epochs=0, seed=2).weight)
    torch.manual_seed(7)  # of the seed alone, whatever the global state
    assert torch.equal(start.weight, train(make, x, y, epochs=0, seed=1).weight)
    torch.set_rng_state(state)
    assert not torch.equal(start.weight, models[0].weight)
    by_sgd = train(make, x, y, epochs=1, seed=1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    assert torch.equal(by_sgd.weight, start.weight)
    with pytest.raises(ValueError, match="epochs must be >= 0"):
        train(make, x, y, epochs=-1)
    with pytest.raises(ValueError, match="y must hold 200 whole numbers"):
        train(make, x, y * 0.5)
    with pytest.raises(ValueError, match="dynamics are of 3 examples"):
        train(make, x, y, dynamics=TrainingDynamics(3))
