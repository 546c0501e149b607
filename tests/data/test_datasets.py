"""The real files, where PAPERWORKS_DATA holds them."""

from __future__ import annotations

import os

import numpy as np
import pytest

import paperworks.data
from paperworks.data import Graph, Images, Records, Regression, Text
from paperworks.data.registry import datasets

needs_data = pytest.mark.skipif(
    not os.environ.get("PAPERWORKS_DATA"), reason="PAPERWORKS_DATA is not set"
)


def get(name: str):
    if not paperworks.data.available(name):
        pytest.skip(f"the files of {name} are not on this machine")
    return paperworks.data.load(name, download=False)


@needs_data
@pytest.mark.parametrize("name", [n for n in datasets() if n != "cifar10"])
def test_every_data_set_loads_as_its_kind(name):
    data = get(name)
    assert data.name == name
    assert data.about
    assert len(repr(data)) < 1500
    assert name in repr(data)
    kinds = {"images": Images, "text": Text, "records": Records, "graph": Graph}
    assert isinstance(data, kinds.get(datasets()[name].kind, Regression))
    with pytest.raises(AttributeError):  # frozen
        data.name = "other"


@needs_data
def test_mnist_counts():
    # Per class, as published with the set.
    data = get("mnist")
    assert np.bincount(data.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(data.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert data.x_train.shape == (60000, 28, 28)
    assert data.x_test.dtype == np.uint8
    assert abs(data.x_train.mean() / 255 - 0.1307) < 5e-5  # the mean that everyone uses


@needs_data
def test_fashion_mnist_counts():
    data = get("fashion-mnist")
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert data.classes[9] == "Ankle boot"
    assert abs(data.x_train.mean() / 255 - 0.2860) < 5e-5


@needs_data
@pytest.mark.slow
def test_cifar10_counts():
    data = get("cifar10")
    assert data.x_train.shape == (50000, 32, 32, 3)
    assert np.bincount(data.y_train).tolist() == [5000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    assert min(np.bincount(data.y_train[:1000], minlength=10)) > 50
    mean = data.x_train.reshape(-1, 3).mean(axis=0) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-3)


@needs_data
def test_texts():
    wiki = get("wikitext-2")
    for part, tokens in (("train", 2_088_628), ("valid", 217_646), ("test", 245_569)):
        lines = getattr(wiki, part).split("\n")[:-1]
        assert sum(len(line.split()) + 1 for line in lines) == tokens
    assert len(set(wiki.train.split())) + 1 == 33_278  # with the end of a line
    raw = get("wikitext-2-raw")
    assert "<unk>" not in raw.test
    assert len(raw.test.encode()) == 1_290_590
    plays = get("tinyshakespeare")
    assert plays.train.startswith("First Citizen:")
    assert len(plays.train) + len(plays.valid) + len(plays.test) == 1_115_394


@needs_data
def test_records():
    gsm8k = get("gsm8k")
    assert (len(gsm8k.train), len(gsm8k.test)) == (7473, 1319)
    assert all("####" in problem["answer"] for problem in gsm8k.test)
    solutions = get("gsm8k-solutions").test
    graded = [problem["175b_verification"]["is_correct"] for problem in solutions]
    assert round(100 * np.mean(graded), 1) == 56.3
    curves = get("learning-curve-benchmark")
    assert len(curves.train) + len(curves.test) == 20_282
    assert len({(row["Domain"], row["Task"], row["Model"]) for row in curves.train}) == 92
    geoquery = get("geoquery").test
    assert len(geoquery) == 246
    assert sum(len(entry["sentences"]) for entry in geoquery) == 877
    humaneval = get("humaneval").test
    assert len(humaneval) == 164
    namespace: dict = {}
    problem = humaneval[0]
    exec(problem["prompt"] + problem["canonical_solution"] + problem["test"], namespace)
    namespace["check"](namespace[problem["entry_point"]])


@needs_data
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "words", "classes", "split"),
    [
        ("cora", 2708, 5278, 1433, 7, (140, 500, 1000)),
        ("pubmed", 19717, 44324, 500, 3, (60, 500, 1000)),
        ("amazon_photo", 7650, 119081, 745, 8, (0, 0, 0)),
        ("dblp", 17716, 52867, 1639, 4, (0, 0, 0)),
    ],
)
def test_graphs(name, nodes, edges, words, classes, split):
    graph = get(name)
    assert graph.adjacency.shape == (nodes, nodes)
    assert graph.adjacency.nnz == 2 * edges
    assert (graph.adjacency != graph.adjacency.T).nnz == 0
    assert graph.adjacency.diagonal().sum() == 0
    assert graph.features.shape == (nodes, words)
    assert set(np.unique(graph.labels)) - {-1} == set(range(classes))
    sizes = (len(graph.train_index), len(graph.val_index), len(graph.test_index))
    assert sizes == split
    empty = np.diff(graph.features.indptr) == 0
    assert np.all(empty[~graph.has_features])


@needs_data
@pytest.mark.parametrize(
    ("name", "n", "d", "splits"),
    [
        ("bostonHousing", 506, 13, 20),
        ("concrete", 1030, 8, 20),
        ("energy", 768, 8, 20),
        ("kin8nm", 8192, 8, 20),
        ("power-plant", 9568, 4, 20),
        ("protein-tertiary-structure", 45730, 9, 5),
        ("wine-quality-red", 1599, 11, 20),
        ("california-housing", 20640, 8, 0),
    ],
)
def test_regression(name, n, d, splits):
    data = get(name)
    assert data.X.shape == (n, d)
    assert data.y.shape == (n,)
    assert len(data.test_splits) == splits
    with pytest.raises(ValueError, match=f"{name} has {splits} published splits"):
        data.split(splits)
    if not splits:
        assert data.feature_names[0] == "longitude"
        return
    train, test = data.split(splits - 1)
    assert sorted([*train, *test]) == list(range(n))
    # The rule that the splits are drawn by when the table comes from its public host.
    legacy = np.random.RandomState(1)
    for row in data.test_splits:
        np.testing.assert_array_equal(row, legacy.permutation(n)[round(0.9 * n) :])
