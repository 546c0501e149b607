from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paperworks.data.errors import DataError
from paperworks.diffusion import frechet
from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import ImageSet, load_images

pytest.importorskip("safetensors")


def published(a: np.ndarray, b: np.ndarray) -> float:
    """As clean-fid and torchmetrics have it: by a matrix square root of the product."""
    gap = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    return float(gap @ gap + np.trace(first + second - 2 * np.real(root)))


@given(dim=st.integers(2, 12), more=st.integers(2, 40), seed=st.integers(0, 10_000))
def test_it_is_the_formula_of_the_others(dim: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(dim + more, dim)) @ rng.normal(size=(dim, dim)) + 1
    b = rng.normal(size=(dim + 2 * more, dim)) @ rng.normal(size=(dim, dim))
    found = frechet_distance(a, b)
    assert found == pytest.approx(published(a, b), rel=1e-6, abs=1e-6)
    assert found == pytest.approx(frechet_distance(b, a), rel=1e-9)


@given(shift=st.floats(-3, 3), scales=st.lists(st.floats(0.1, 4), min_size=2, max_size=6))
def test_gaussians_in_closed_form(shift: float, scales: list[float]) -> None:
    """For covariances with common axes it is ``|m1 - m2|^2 + sum (s1 - s2)^2``."""
    x = np.random.default_rng(0).normal(size=(200, len(scales)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(len(scales),) * 2))
    found = frechet_distance((x * scales + shift) @ turn, x @ turn)
    expected = len(scales) * shift**2 + sum((scale - 1) ** 2 for scale in scales)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_fewer_images_than_features() -> None:
    """Singular covariances, where a root of the product has imaginary parts."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 10, 64))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    centred = [(x - x.mean(0)) / 3 for x in (a, b)]
    shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    whole = sum((x**2).sum() for x in centred) + ((a.mean(0) - b.mean(0)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(whole - 2 * shared, rel=1e-7)


def test_few_images_are_told_apart_from_themselves() -> None:
    """The first-order bias that the module states, ``d (1 + (d + 1) / 4) (1 / n + 1 / m)``."""
    rng, d, n, m = np.random.default_rng(0), 16, 2000, 1000
    found = [frechet_distance(rng.normal(size=(n, d)), rng.normal(size=(m, d))) for _ in range(60)]
    expected = d * (1 + (d + 1) / 4) * (1 / n + 1 / m)
    spread = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 4 * spread + 0.02 * expected


def test_tensors_and_half_precision_are_taken_to_float64() -> None:
    a, b = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0)).half()
    expected = frechet_distance(a.double().numpy(), b.double().numpy())
    assert frechet_distance(a.requires_grad_(), b) == expected


@pytest.mark.parametrize(
    ("a", "match"),
    [
        (np.zeros((1, 3)), r"a must be \(n, dim\) with n >= 2, got shape \(1, 3\)"),
        (np.zeros(3), r"got shape \(3,\)"),
        (np.full((4, 3), np.nan), "a must be finite"),
        (np.zeros((4, 2)), "as many features, got 2 and 3"),
    ],
)
def test_bad_features(a: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        frechet_distance(a, np.eye(3))


def test_the_shipped_classifier_knows_digits() -> None:
    features, test = Features.load("digits"), load_images("digits", part="test")
    assert test.labels is not None
    right = float((features.classify(test.images) == test.labels).double().mean())
    assert right == pytest.approx(features.about["accuracy"], abs=0.005)
    assert right > 0.96
    assert "digits" in features.name


def test_worse_images_are_farther() -> None:
    features, real = Features.load("digits"), load_images("digits").images
    generator = torch.Generator().manual_seed(0)
    far = [
        features.distance(real[:700] + size * torch.randn(700, 1, 8, 8, generator=generator), real)
        for size in (0.0, 0.2, 0.4, 0.8)
    ]
    assert far == sorted(far)
    # Half of the classes is missing: what a mean over images alone would not see.
    labels = load_images("digits").labels
    assert labels is not None
    assert features.distance(real[labels < 5], real) > 5 * features.distance(real[:700], real)


def two_classes(count: int = 64) -> ImageSet:
    """Bright above, or bright below."""
    images = torch.full((count, 3, 12, 10), -1.0)
    images[::2, :, :6] = images[1::2, :, 6:] = 1.0
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 2
    return ImageSet((images + 0.3 * noise).clamp(-1, 1), labels, ("above", "below"), "halves")


def test_train_save_and_load(tmp_path: Path) -> None:
    data = two_classes()
    state = torch.get_rng_state()
    made = Features.train(data, test=data, updates=30, batch=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert made.about["accuracy"] == 1.0
    again = Features.train(data, updates=30, batch=16)
    made.save(tmp_path)
    loaded = Features.load(tmp_path)
    for other in (again, loaded):
        torch.testing.assert_close(other(data.images), made(data.images), rtol=0, atol=0)
    assert torch.equal(loaded.classify(data.images), data.labels)
    assert loaded.name == "a small classifier of halves"
    made.save(tmp_path, dtype=torch.float16)
    torch.testing.assert_close(
        Features.load(tmp_path)(data.images), made(data.images), rtol=0, atol=0.02
    )


def test_another_data_set_is_trained_once_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    calls: list[str] = []

    def images(name: str, part: str = "train") -> ImageSet:
        calls.append(part)
        return two_classes()

    train = Features.train
    monkeypatch.setattr(frechet, "load_images", images)
    monkeypatch.setattr(
        Features, "train", lambda train_, test: train(train_, test=test, updates=5, batch=8)
    )
    first, second = Features.load("mnist"), Features.load("mnist")
    assert calls == ["train", "test"]
    assert (tmp_path / "diffusion" / "mnist" / "features" / "config.json").is_file()
    data = two_classes()
    torch.testing.assert_close(first(data.images), second(data.images), rtol=0, atol=0)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Features.train(two_classes(), updates=1, batch=4).save(tmp_path)
    weights = tmp_path / "features" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"features/model.safetensors is damaged"):
        Features.load(tmp_path)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no features"):
        Features.load(tmp_path / "nowhere")
    data = two_classes()
    with pytest.raises(ValueError, match=r"images of x have no classes .* a subfolder for each"):
        Features.train(ImageSet(data.images, None, (), "x"))
    with pytest.raises(ValueError, match="no classes"):
        Features.train(ImageSet(data.images, data.labels, ("one",), "x"))
    bare = Features(nn.Flatten(), None, "pixels")
    with pytest.raises(ValueError, match="pixels names no classes"):
        bare.classify(data.images)
    with pytest.raises(ValueError, match="pixels is no classifier"):
        bare.save(tmp_path)


class _Inception(nn.Module):
    """Called as the TorchScript file is: bytes of three channels, by a flag the features."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        means = images.float().mean((2, 3))
        return means if return_features else means[:, :1]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("where", ["PAPERWORKS_DATA", "PAPERWORKS_CACHE"])
def test_inception_where_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    for each in ("PAPERWORKS_DATA", "PAPERWORKS_CACHE"):
        (tmp_path / each / "models").mkdir(parents=True)
        monkeypatch.setenv(each, str(tmp_path / each))
    with pytest.raises(ValueError, match=r"put inception-2015-12-05.pt at .*PAPERWORKS_DATA"):
        Features.inception()
    path = tmp_path / where / "models" / "inception-2015-12-05.pt"
    torch.jit.script(_Inception()).save(path)
    features: Any = Features.inception()
    found = features(torch.tensor([-1.0, 0.0, 1.0, 2.0])[:, None, None, None])
    assert found.tolist() == [[0.0] * 3, [128.0] * 3, [255.0] * 3, [255.0] * 3]


def test_a_missing_data_set_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    monkeypatch.setattr(
        frechet, "load_images", lambda name, part="train": (_ for _ in ()).throw(DataError("no"))
    )
    with pytest.raises(DataError):
        Features.load("cifar10")
    assert not (tmp_path / "diffusion" / "cifar10" / "features").exists()
