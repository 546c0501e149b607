from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paperworks.data import available
from paperworks.diffusion.images import check_images, grid, load_images, save_grid, scaled


def paint(path: Path, color: Any = 100, size: tuple[int, int] = (6, 4), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


def test_digits() -> None:
    data = load_images("digits")
    assert data.images.shape == (1437, 1, 8, 8)
    assert data.images.dtype == torch.float32
    assert data.images.aminmax() == (-1, 1)
    assert ((data.images + 1) * 8).frac().abs().max() == 0  # 17 levels
    assert data.classes == tuple("0123456789")
    assert len(load_images("digits", part="test").images) == 360


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_real_sets(name: str, shape: tuple[int, ...]) -> None:
    if not available(name):
        pytest.skip(f"{name} is not on this machine: set PAPERWORKS_DATA")
    data = load_images(name, part="test")
    assert data.images.shape == (10_000, *shape)
    assert data.images.aminmax() == (-1, 1)
    assert data.labels is not None
    assert data.labels.bincount().tolist() == (
        [1000] * 10
        if name == "cifar10"
        else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


def test_channels_come_first() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    found = scaled(pixels)
    assert found.shape == (2, 3, 3, 4)
    assert found.is_contiguous()
    expected = pixels[1, 2, 3, 0] / 127.5 - 1
    assert found[1, 0, 2, 3] == pytest.approx(expected)


def test_a_folder_of_grey_pictures(tmp_path: Path) -> None:
    for name, value in (("b.png", 255), ("a.png", 0), ("deep/c.bmp", 51)):
        paint(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("no image")
    found = load_images(tmp_path)
    assert found.images.shape == (3, 1, 4, 6)
    torch.testing.assert_close(found.images[:, 0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))
    assert found.labels is None
    assert found.classes == ()


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/1.png", "cat/more/2.png"):
        paint(tmp_path / name)
    found = load_images(str(tmp_path))
    assert found.classes == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1]


def test_one_in_colour_makes_all_so(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 102)
    paint(tmp_path / "b.png", (255, 0, 51), mode="RGB")
    paint(tmp_path / "c.png", (255, 0, 51, 9), mode="RGBA")
    found = load_images(tmp_path).images
    assert found.shape == (3, 3, 4, 6)
    torch.testing.assert_close(
        found[:, :, 0, 0],
        torch.tensor([[-0.2, -0.2, -0.2], [1.0, -1.0, -0.6], [1.0, -1.0, -0.6]]),
    )


def test_size_cuts_the_centre_and_resizes(tmp_path: Path) -> None:
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200  # the central square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    paint(tmp_path / "small.png", 50, (4, 4))
    found = load_images(tmp_path, size=4).images
    assert found.shape == (2, 1, 4, 4)
    torch.testing.assert_close(found[1], torch.full((1, 4, 4), 200 / 127.5 - 1))


def test_pictures_are_turned_as_they_say(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0] = 255  # the upper edge, which "rotated by 90 degrees" puts to the right
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    found = load_images(tmp_path).images
    assert found.shape == (1, 1, 6, 4)
    assert (found[0, 0, :, -1] == 1).all()


def _several_sizes(folder: Path) -> None:
    paint(folder / "a.png")
    paint(folder / "b.png", size=(5, 4))


def _no_picture(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"not a picture")


def _cut_short(folder: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(folder / "a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:500])


def _deep(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda folder: None, "holds no images"),
        (_several_sizes, r"a.png has 6x4, .*b.png has 5x4; give a size"),
        (_no_picture, r"a.png cannot be read as an image"),
        (_cut_short, r"a.png cannot be read as an image"),
        (_deep, r"a.png has more than 8 bits a channel \(I;16"),
    ],
)
def test_bad_folders(tmp_path: Path, make: Any, match: str) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match=match):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"source": "nowhere"}, "nowhere is no folder here, and none of the data sets digits"),
        ({"source": "digits", "size": 16}, "digits has a size of its own, got 16"),
        ({"source": "digits", "part": "valid"}, "part must be 'train' or 'test', got 'valid'"),
        ({"source": "mnist1d"}, "mnist1d is not a set of images"),
        ({"source": ".", "part": "test"}, "has no test part"),
    ],
)
def test_bad_requests(given: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        load_images(**given)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(3, 8, 8), r"\(n, channels, height, width\) with n >= 1, got \(3, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"got \(0, 1, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8).byte(), "got torch.uint8"),
        (torch.tensor([0.0, torch.nan, 0.0])[:, None, None, None], "image 1 holds NaN"),
        (torch.tensor([0.0, 0.0, -torch.inf])[:, None, None, None], "image 2 holds NaN or inf"),
        (torch.full((2, 1, 8, 8), 255.0), "within -1 and 1, got 255 to 255"),
    ],
)
def test_bad_images(images: torch.Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_images(images)


def test_a_grid_has_each_image_in_its_place() -> None:
    values = torch.linspace(-1, 1, 5)
    found = grid(values[:, None, None, None].expand(-1, 1, 2, 3), columns=3, scale=2)
    assert found.shape == (2 * (2 * 3 - 1), 2 * (3 * 4 - 1))
    assert found.dtype == np.uint8
    corners = [int(found[6 * (i // 3), 8 * (i % 3)]) for i in range(5)]
    assert corners == [0, 64, 128, 191, 255]
    assert (found[4:6] == 255).all()  # between the rows
    assert (found[6:, 16:] == 255).all()  # no sixth image


def test_grids_in_colour_are_clipped(tmp_path: Path) -> None:
    images = torch.tensor([-3.0, 0.0, 3.0])[None, :, None, None].expand(4, 3, 8, 8)
    assert grid(images)[0, 0].tolist() == [0, 128, 255]
    save_grid(images, tmp_path / "grid.png", columns=4, scale=1)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (35, 8)
        assert picture.getpixel((0, 0)) == (0, 128, 255)


def test_a_grid_is_about_square_and_can_be_seen() -> None:
    assert grid(torch.zeros(64, 1, 8, 8)).shape == (6 * 71, 6 * 71)
    assert grid(torch.zeros(2, 3, 64, 64)).shape == (64, 129, 3)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(4, 2, 8, 8), r"got \(4, 2, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"n >= 1, got \(0"),
        (torch.full((1, 1, 8, 8), torch.nan), "NaN or infinity among them"),
    ],
)
def test_bad_grids(images: torch.Tensor, match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match):
        save_grid(images, tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()
    with pytest.raises(ValueError, match="extension"):
        save_grid(torch.zeros(1, 1, 8, 8), tmp_path / "grid.nonsense")
