"""The walks: unbiased, reproducible, and honest about their errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from ppr_exact import chances, random_graph

from paperworks.graphs import PowerWalk
from paperworks.graphs.powerwalk.walks import GROUP, LEAST_GROUPS


def scores(walk: PowerWalk) -> np.ndarray:
    """The fingerprints as dense rows of scores."""
    prints, n = walk._prints, walk.n_nodes
    group = np.repeat(np.arange(prints.indptr.size - 1), np.diff(prints.indptr))
    row = np.repeat(np.arange(n), np.diff(prints.first))[group]
    each = prints.counts * walk.restart / (GROUP * np.diff(prints.first)[row])
    return sp.coo_array((each, (row, prints.targets)), (n, n)).toarray() + walk.restart * np.eye(n)


def expected(A, c: float = 0.15) -> np.ndarray:
    return c * np.linalg.inv(np.eye(A.shape[0]) - (1 - c) * chances(A))


@pytest.mark.parametrize("weighted", [False, True])
def test_fingerprints_are_unbiased_and_their_errors_as_estimated(weighted: bool) -> None:
    A = random_graph(40, 160, 1, weighted=weighted)
    X = expected(A)
    found = [PowerWalk(A, seed=seed, walks=48) for seed in range(150)]
    all_scores = np.array([scores(walk) for walk in found])
    spread = all_scores.std(axis=0, ddof=1)
    # Of a target that is reached once in a thousand visits the mean is no normal deviate yet.
    often = (spread > 1e-9) & (X > 2e-3)
    off = np.abs(all_scores.mean(axis=0) - X)[often] / (spread[often] / np.sqrt(150))
    assert often.sum() > 200
    assert off.max() < 4.5
    np.testing.assert_allclose(all_scores.mean(axis=0)[~often], X[~often], atol=2e-3)
    squared = ((all_scores - X) ** 2).sum(axis=2).mean(axis=0)
    told = np.mean(
        [w._prints.facts[:, 1] / np.diff(w._prints.first) for w in found], axis=0, dtype=float
    )
    np.testing.assert_allclose(told.sum(), squared.sum(), rtol=0.05)
    np.testing.assert_allclose(told, squared, rtol=0.5, atol=1e-4)


def test_systematic_walks_beat_independent_ones() -> None:
    """The mean squared error of R independent full-path walks, by the chain's own variance."""
    A = random_graph(60, 400, 2)
    c, walks = 0.15, 64
    P, X = chances(A), expected(A)
    n = A.shape[0]
    visits = np.linalg.inv(np.eye(n) - (1 - c) * P)  # expected visits of w from v
    second = visits * (2 * np.diag(visits)[None, :] - 1)  # and their expected squares
    independent = c**2 / walks * (second - visits**2).sum(axis=1)
    walk = PowerWalk(A, walks=walks)
    groups = np.diff(walk._prints.first)
    ours = ((scores(walk) - X) ** 2).sum(axis=1) * groups * GROUP / walks
    assert ours.mean() < 0.85 * independent.mean()


@pytest.mark.parametrize("weighted", [False, True])
def test_one_seed_gives_one_index_at_any_number_of_threads(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    A = random_graph(300, 1500, 3, weighted=weighted)
    one = PowerWalk(A, seed=5, n_jobs=1)
    monkeypatch.setattr("paperworks.graphs.powerwalk.walks._LEAST_WORK", 5000)
    monkeypatch.setattr("paperworks.graphs.powerwalk.walks._WORK_PER_VERTEX", 0)
    for jobs in (1, 2, 5):
        many = PowerWalk(A, seed=5, n_jobs=jobs)
        for a, b in zip(one._prints.arrays, many._prints.arrays, strict=True):
            np.testing.assert_array_equal(a, b)
    other = PowerWalk(A, seed=6)
    assert not np.array_equal(one._prints.targets[:100], other._prints.targets[:100])


def test_a_buffer_that_is_too_small_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from paperworks.graphs.powerwalk import walks

    A = random_graph(200, 1000, 3)
    one = PowerWalk(A)
    real = walks._walk_rows

    def cramped(*args):
        args = list(args)
        args[7], args[8] = args[7][: max(args[7].size // 7, 1)], args[8]
        return real(*args)

    monkeypatch.setattr(walks, "_walk_rows", cramped)
    two = PowerWalk(A)
    for a, b in zip(one._prints.arrays, two._prints.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_walks_start_where_more_flow_arrives() -> None:
    star = sp.csr_array(np.block([[np.zeros((1, 1)), np.ones((1, 200))],
                                  [np.ones((200, 1)), np.zeros((200, 200))]]))  # fmt: skip
    groups = np.diff(PowerWalk(star, walks=64)._prints.first)
    assert groups[0] == 16 * 64 / GROUP  # the most that one vertex has
    assert set(groups[1:]) == {LEAST_GROUPS}


def test_counts_beyond_a_byte_are_kept() -> None:
    loop = sp.csr_array(np.ones((1, 1)))
    walk = PowerWalk(loop, restart=0.01)
    assert walk._prints.counts.max() > 255
    assert walk.query(0).scores[0] == pytest.approx(1.0, abs=0.05)
    assert walk.query(0, error=1e-9).scores[0] == pytest.approx(1.0, abs=1e-7)
