from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from paperworks.scaling import cap_similarity, match_similarity, nearest_similarity
from paperworks.scaling.concept_frequency import similarity as module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [7, 1 << 24])
def test_similarities_are_scikit_learns(
    dtype: type, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(0)
    train = (rng.normal(size=(50, 6)) * rng.uniform(0.1, 9, (50, 1))).astype(dtype)
    test = rng.normal(size=(12, 6)).astype(dtype)
    table = cosine_similarity(train, test)
    found = nearest_similarity(train, test)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, table.max(0), rtol=1e-5)
    cap = rng.uniform(0.2, 0.9, 12)
    assert cap_similarity(train, test, cap).tolist() == (table <= cap).all(1).tolist()
    assert cap_similarity(train, test, 0.5).tolist() == (table <= 0.5).all(1).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pruning_to_a_reference_leaves_its_similarity(dtype: type) -> None:
    rng = np.random.default_rng(1)
    test = rng.normal(size=(20, 5)).astype(dtype)
    train = rng.normal(size=(400, 5)).astype(dtype)
    reference = train[:60]
    cap = nearest_similarity(reference, test)
    keep = cap_similarity(train, test, cap)
    assert keep[:60].all()  # the reference holds to its own caps, whatever the rounding
    assert 60 < keep.sum() < 400
    np.testing.assert_allclose(nearest_similarity(train[keep], test), cap, rtol=1e-5)


def test_matched_samples_spread_alike() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(8), 300)
    similarity = rng.normal(0.04 * groups, 0.2)  # the later, the more similar
    kept = match_similarity(similarity, groups, per_group=60, bins=8, rng=0)
    assert np.bincount(groups[kept]).tolist() == [60] * 8
    assert np.unique(kept).size == kept.size
    edges = np.quantile(similarity, np.linspace(0, 1, 9)[1:-1])
    place = np.searchsorted(edges, similarity, "right")
    spread = [np.bincount(place[kept][groups[kept] == g], minlength=8).tolist() for g in range(8)]
    assert all(row == spread[0] for row in spread)
    before = [similarity[groups == g].mean() for g in (0, 7)]
    after = [similarity[kept][groups[kept] == g].mean() for g in (0, 7)]
    assert abs(after[1] - after[0]) < 0.15 * abs(before[1] - before[0])
    again = match_similarity(similarity, groups, per_group=60, bins=8, rng=0)
    np.testing.assert_array_equal(kept, again)


def test_groups_least_like_the_others_can_be_left_out() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(6), 200)
    similarity = rng.normal(0, 0.1, 1200) + np.where(groups == 4, 5.0, 0) + 0.02 * groups
    with pytest.raises(ValueError, match=r"share 3 samples .* not 30; .* leave_out=True"):
        match_similarity(similarity, groups, per_group=30, rng=0)
    kept = match_similarity(similarity, groups, per_group=30, leave_out=True, rng=0)
    assert np.bincount(groups[kept]).tolist() == [30, 30, 30, 30, 0, 30]
    with pytest.raises(ValueError, match="all groups share 200 samples of equal similarity, not"):
        match_similarity(similarity, groups, per_group=201, leave_out=True, rng=0)
    # Nobody is left out where all can give.
    alike = rng.normal(0, 0.1, 1200)
    one = match_similarity(alike, groups, per_group=30, leave_out=True, rng=0)
    np.testing.assert_array_equal(one, match_similarity(alike, groups, per_group=30, rng=0))


def test_groups_that_share_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match="share 2 samples of equal similarity, not 3"):
        match_similarity([0.1, 0.2, 0.3, 0.25, 0.9, 0.8], [0, 0, 0, 1, 1, 1], per_group=3, bins=2)
    with pytest.raises(ValueError, match="per_group and bins must be >= 1, got 0 and 5"):
        match_similarity([0.1], [0], per_group=0)
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
        match_similarity([0.1, 0.2], [0], per_group=1)


@pytest.mark.parametrize(
    ("train", "test", "cap", "why"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), 0.5, "same width, got 3 and 4"),
        (np.ones(3), np.ones((2, 3)), 0.5, r"train must be a 2-d array with rows, got shape \(3,"),
        (np.ones((0, 3)), np.ones((2, 3)), 0.5, "train must be a 2-d array with rows"),
        (np.eye(3) * [1, 1, 0], np.ones((2, 3)), 0.5, "train must hold .*row 2 is not"),
        (np.ones((2, 3)), np.full((2, 3), np.nan), 0.5, "test must hold .*row 0 is not"),
        (np.ones((2, 3)), np.ones((2, 3)), [0.5] * 3, "cap must be one finite number or 2"),
    ],
)
def test_bad_input_is_named(train: object, test: object, cap: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cap_similarity(train, test, cap)
