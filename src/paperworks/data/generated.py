"""Data sets that need no file: scikit-learn's digits, and MNIST-1D made anew.

MNIST-1D: S. Greydanus and D. Kobak, "Scaling Down Deep Learning with MNIST-1D",
arXiv:2011.14439, section 3 and its table of settings. Ten hand-drawn templates of 12 points are
padded, stretched, scaled, shifted, covered with correlated and white noise, sheared and sampled at
40 points. The random numbers are drawn from NumPy's legacy generator in the order of the published
program, so that seed 42 (its default) gives its frozen data set up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paperworks.data.kinds import class_names

Fields = dict[str, Any]


def digits(*, seed: int = 0, test_size: float = 0.2) -> Fields:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, values 0 to 16, in a stratified split.

    The published training and test writers are not told apart in scikit-learn's copy, so the split
    is drawn here, from ``seed``.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        bunch.images.astype(np.uint8),
        bunch.target.astype(np.int64),
        test_size=test_size,
        random_state=seed,
        stratify=bunch.target,
    )
    return {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
        "classes": class_names(10),
    }


_TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
_PAD = (36, 60)  # zeros added behind the template, fewest and most
_STRETCHED = _TEMPLATES.shape[1] + _PAD[1]
_SCALE = 0.4  # width of the range of amplitudes around 1
_SHIFTS = 48
_CORRELATED, _SMOOTHING = 0.25, 2.0  # noise where there is no signal: its size and width
_WHITE = 0.02
_SHEAR = 0.75
_POINTS = 40
_TEST = 0.2


def mnist1d(*, seed: int = 42, samples: int = 5000) -> Fields:
    """MNIST-1D with the published settings: signals of 40 points, an 80/20 split.

    Values are centred and scaled to variance 1 over the whole set, as published. Time grows with
    ``samples``, about 0.1 ms each.
    """
    from scipy.ndimage import gaussian_filter1d

    if samples < 10 or samples % 10:
        raise ValueError(f"samples must be a positive multiple of 10, got {samples}")
    shapes = _TEMPLATES - _TEMPLATES.mean(axis=1, keepdims=True)
    shapes /= shapes.std(axis=1, keepdims=True)
    shapes = (shapes - shapes[:, :1]) / 6.0 + 1e-8  # a touch above the zeros of the padding

    rng = np.random.RandomState(seed)
    labels = np.repeat(np.arange(10), samples // 10)
    signals = np.empty((samples, _STRETCHED))
    correlated, white = np.empty_like(signals), np.empty_like(signals)
    shears = np.empty(samples)
    for i, label in enumerate(labels):
        padding = _PAD[0] + int(rng.rand() * (_PAD[1] - _PAD[0] + 1))
        signal = _resample(np.append(shapes[label], np.zeros(padding)), _STRETCHED)
        signal *= 1.0 + _SCALE * (rng.rand() - 0.5)
        signals[i] = np.roll(signal, rng.choice(_SHIFTS))
        correlated[i] = rng.randn(_STRETCHED)
        white[i] = rng.randn(_STRETCHED)
        shears[i] = rng.rand() - 0.5
    order = rng.permutation(samples)

    noise = gaussian_filter1d(_CORRELATED * correlated, _SMOOTHING, axis=1)
    signals = np.where(signals != 0, signals, noise) + _WHITE * white
    signals -= _SHEAR * shears[:, None] * np.linspace(-0.5, 0.5, _STRETCHED)
    x = np.array([_resample(signal, _POINTS) for signal in signals])[order]
    x = (x - x.mean()) / x.std()
    y = labels[order].astype(np.int64)
    cut = int(samples * (1 - _TEST))
    return {
        "x_train": x[:cut],
        "y_train": y[:cut],
        "x_test": x[cut:],
        "y_test": y[cut:],
        "classes": class_names(10),
    }


def _resample(signal: np.ndarray, points: int) -> np.ndarray:
    """The signal's linear interpolation at equally spaced points."""
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(signal)), signal)


GENERATORS: dict[str, Callable[..., Fields]] = {"digits": digits, "mnist1d": mnist1d}
