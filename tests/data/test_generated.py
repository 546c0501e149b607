from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import paperworks.data


def test_mnist1d_is_the_published_set():
    data = paperworks.data.load("mnist1d")
    # Read off the file that the authors publish (mnist1d_data.pkl, seed 42).
    np.testing.assert_allclose(
        data.x_train[0, :3], [-0.33200567, -0.47191037, -0.77869708], atol=5e-9
    )
    np.testing.assert_allclose(
        data.x_test[-1, -3:], [0.65987565, 0.87773435, 1.19315184], atol=5e-9
    )
    assert data.y_train[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert data.x_train.shape == (4000, 40)
    assert data.x_test.shape == (1000, 40)
    assert data.y_train.dtype == data.y_test.dtype == np.int64


def test_mnist1d_statistics_and_seed():
    data = paperworks.data.load("mnist1d", seed=3, samples=200)
    x = np.concatenate([data.x_train, data.x_test])
    y = np.concatenate([data.y_train, data.y_test])
    assert x.shape == (200, 40)
    assert np.bincount(y).tolist() == [20] * 10
    assert abs(x.mean()) < 1e-12
    assert abs(x.std() - 1) < 1e-12
    again = paperworks.data.load("mnist1d", seed=3, samples=200)
    other = paperworks.data.load("mnist1d", seed=4, samples=200)
    np.testing.assert_array_equal(again.x_train, data.x_train)
    assert not np.array_equal(other.x_train, data.x_train)


def test_mnist1d_leaves_the_global_generator_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    paperworks.data.load("mnist1d", samples=50)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("samples", [0, -10, 15])
def test_mnist1d_refuses_uneven_classes(samples):
    with pytest.raises(ValueError, match=f"multiple of 10, got {samples}"):
        paperworks.data.load("mnist1d", samples=samples)


def test_digits_split_is_a_stratified_partition():
    data = paperworks.data.load("digits", seed=1)
    bunch = load_digits()
    together = np.concatenate([data.x_train, data.x_test]).reshape(1797, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, bunch.data.astype(np.uint8)))
    share = np.bincount(data.y_test) / np.bincount(bunch.target)
    assert np.all(np.abs(share - 0.2) < 0.01)
    lookup = {
        bytes(row.astype(np.uint8)): label
        for row, label in zip(bunch.data, bunch.target, strict=True)
    }
    assert all(
        lookup[bytes(row.ravel())] == y for row, y in zip(data.x_test, data.y_test, strict=True)
    )
    again = paperworks.data.load("digits", seed=1)
    np.testing.assert_array_equal(again.x_train, data.x_train)
    assert not np.array_equal(paperworks.data.load("digits", seed=2).y_test, data.y_test)


def test_options_are_checked_by_name():
    with pytest.raises(ValueError, match="mnist1d takes seed, samples; got 'size'"):
        paperworks.data.load("mnist1d", size=5)
    with pytest.raises(ValueError, match="mnist takes no options, got 'seed'"):
        paperworks.data.load("mnist", seed=5)
    with pytest.raises(ValueError, match="is generated and has no file"):
        paperworks.data.path("digits")
    with pytest.raises(ValueError, match="nothing to fetch"):
        paperworks.data.fetch("digits")
