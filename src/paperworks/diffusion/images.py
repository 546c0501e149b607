"""Images as diffusion models take them: float32 ``(n, channels, height, width)`` from -1 to 1.

They come from a data set of :mod:`paperworks.data` or from a folder of image files, and go back
into one picture with a tile for each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import paperworks.data
from paperworks.data.kinds import Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Of the files in a folder that are taken for images."""
_LEVELS = {"digits": 16}  # the largest value of a pixel, where it is not a byte's
_SEEN = 48  # pixels of a tile's side in a grid, at least


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images to train on, and their classes where these are known.

    Attributes
    ----------
    images : (n, channels, height, width) float32
        From -1 to 1.
    labels : (n,) int64 or None
        The class of each, counted from 0.
    classes : tuple of str
        What the classes are called; empty without labels.
    name : str
        The data set, or the folder's whole path.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    name: str


def load_images(
    source: str | os.PathLike[str], *, part: str = "train", size: int | None = None
) -> ImageSet:
    """Read a data set or a folder of images.

    Parameters
    ----------
    source : str or path
        ``"digits"``, ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``; or a folder, whose image
        files are read at any depth, in the order of their names. Where all of them lie in
        subfolders, the first of these is the class. Pictures without colour stay so if all are.
    part : {"train", "test"}
        Of a data set. A folder has no test part.
    size : int, optional
        Of a folder: cut each picture to its central square and resize that. By default all must
        have the same size.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        For an unknown name, an empty folder, pictures of several sizes, or one that cannot be
        read; the file is named.
    paperworks.data.DataError
        Where a data set's files cannot be had.

    Examples
    --------
    >>> load_images("digits").images.shape
    torch.Size([1437, 1, 8, 8])
    """
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    if str(source) not in paperworks.data.names():
        return _folder(Path(source), part, size)
    if size is not None:
        raise ValueError(f"size is for folders; {source} has a size of its own, got {size}")
    data = paperworks.data.load(str(source))
    if not isinstance(data, Images) or data.x_train.ndim < 3:
        raise ValueError(f"{source} is not a set of images: use digits, mnist, cifar10, a folder")
    pixels, labels = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
    images = scaled(pixels, _LEVELS.get(data.name, 255))
    return ImageSet(images, torch.from_numpy(labels), tuple(data.classes), data.name)


def scaled(pixels: NDArray[Any], levels: int = 255) -> Tensor:
    """Pixels ``(n, height, width)`` or ``(n, height, width, channels)`` from 0 to ``levels`` as
    images from -1 to 1.
    """
    images = torch.from_numpy(pixels).float().mul_(2 / levels).sub_(1)
    images = images[:, None] if images.dim() == 3 else images.movedim(3, 1)
    return images.contiguous()


def check_images(images: Tensor) -> Tensor:
    """The images, if a model can be trained on them.

    Raises
    ------
    ValueError
        For another shape than ``(n, channels, height, width)``, no image at all, another dtype
        than float32, values that are not finite (the first such image is named) or not within -1
        and 1.
    """
    if images.dim() != 4 or not images.numel():
        raise ValueError(
            f"images must be (n, channels, height, width) with n >= 1, got {tuple(images.shape)}"
        )
    if images.dtype != torch.float32:
        raise ValueError(f"images must be float32 from -1 to 1, got {images.dtype}")
    low, high = (float(value) for value in images.aminmax())  # NaN shows in both
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(images)).flatten(1).any(1).int().argmax())
        raise ValueError(f"images must be finite: image {bad} holds NaN or infinity")
    if low < -1 or high > 1:
        raise ValueError(f"images must be within -1 and 1, got {low:g} to {high:g}")
    return images


def grid(images: Tensor, *, columns: int | None = None, scale: int | None = None) -> NDArray[Any]:
    """One picture of all images, row by row.

    Parameters
    ----------
    images : (n, channels, height, width) float
        From -1 to 1, beyond which they are clipped; with 1 or 3 channels.
    columns : int, optional
        By default as many as make it about square.
    scale : int, optional
        Pixels of the picture for each pixel of an image. By default a tile is at least 48 wide.

    Returns
    -------
    (rows, columns) or (rows, columns, 3) uint8
        The tiles are a pixel apart, times ``scale``.

    Raises
    ------
    ValueError
        For another shape or number of channels, or values that are not finite.

    Examples
    --------
    >>> grid(torch.zeros(6, 1, 8, 8), columns=3, scale=1).shape
    (17, 26)
    """
    if images.dim() != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images must be (n, 1 or 3, height, width) with n >= 1, got {tuple(images.shape)}"
        )
    if not bool(torch.isfinite(images).all()):
        raise ValueError("images must be finite: there is NaN or infinity among them")
    count, channels, height, width = images.shape
    across = columns or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    times = scale or max(1, math.ceil(_SEEN / width))
    bytes_ = ((images.detach().cpu().double().clamp(-1, 1) + 1) * 127.5).round().byte()
    tiles = np.full((down * across, height + 1, width + 1, channels), 255, np.uint8)
    tiles[:count, :height, :width] = bytes_.movedim(1, 3).numpy()
    rows = tiles.reshape(down, across, height + 1, width + 1, channels).swapaxes(1, 2)
    whole = rows.reshape(down * (height + 1), across * (width + 1), channels)[:-1, :-1]
    whole = whole.repeat(times, 0).repeat(times, 1)
    return whole[..., 0] if channels == 1 else whole


def save_grid(
    images: Tensor,
    path: str | os.PathLike[str],
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Write :func:`grid` to a file; its suffix says the format.

    Raises
    ------
    ValueError
        As for :func:`grid`, and for a suffix that is no image format.
    """
    from PIL import Image

    check_picture(path)
    Image.fromarray(grid(images, columns=columns, scale=scale)).save(path)


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuse a name that no picture can be written to, before the work for it is done.

    Raises
    ------
    ValueError
        For a suffix that is no image format.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix not in Image.registered_extensions():
        raise ValueError(f"{path} has an unknown file extension {suffix!r}: take {SUFFIXES[0]}")


def _folder(folder: Path, part: str, size: int | None) -> ImageSet:
    if not folder.is_dir():
        known = ", ".join(("digits", "mnist", "fashion-mnist", "cifar10"))
        raise ValueError(f"{folder} is no folder here, and none of the data sets {known}")
    if part != "train":
        raise ValueError(f"the folder {folder} has no {part} part")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no images ({' '.join(SUFFIXES)})")
    pictures = [_read(path, size) for path in paths]
    shape = pictures[0].shape[:2]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape[:2] != shape:
            raise ValueError(
                f"images must have one size: {paths[0]} has {_size(shape)}, {path} has "
                f"{_size(picture.shape)}; give a size to cut and resize them all"
            )
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [
            picture if picture.ndim == 3 else np.stack([picture] * 3, 2) for picture in pictures
        ]
    inside = [path.relative_to(folder).parts for path in paths]
    labels: Tensor | None = None
    classes: list[str] = []
    if all(len(parts) > 1 for parts in inside):
        classes = sorted({parts[0] for parts in inside})
        labels = torch.tensor([classes.index(parts[0]) for parts in inside])
    return ImageSet(scaled(np.stack(pictures)), labels, tuple(classes), str(folder.absolute()))


def _read(path: Path, size: int | None) -> NDArray[np.uint8]:
    """``(height, width)``, or ``(height, width, 3)`` where there is colour."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode[0] in "IF":
                raise ValueError(f"{path} has more than 8 bits a channel ({picture.mode})")
            picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    if size is not None:
        side = min(picture.size)
        left, top = ((each - side) // 2 for each in picture.size)
        picture = picture.crop((left, top, left + side, top + side))
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
