"""Readers of labelled images: MNIST's IDX files and the two forms of CIFAR-10."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paperworks.data.files import cache_dir, sha256
from paperworks.data.kinds import class_names
from paperworks.data.readers.raw import Fields, unpacked

_CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _idx(path: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, the type 8, the rank, the shape, the values."""
    raw = unpacked(path)
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def idx_images(paths: Sequence[Path], *, classes: Sequence[str] | int = 10) -> Fields:
    """MNIST's four files: training images and labels, test images and labels."""
    x_train, y_train, x_test, y_test = (_idx(path) for path in paths)
    return {
        "x_train": x_train,
        "y_train": y_train.astype(np.int64),
        "x_test": x_test,
        "y_test": y_test.astype(np.int64),
        "classes": class_names(classes),
    }


def cifar_binary(paths: Sequence[Path]) -> Fields:
    """CIFAR-10's binary archive: rows of one label byte and 3 x 32 x 32 pixel bytes."""
    parts: dict[str, bytes] = {}
    with tarfile.open(paths[0]) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".bin") else None
            if stream is not None:
                parts[member.name.rpartition("/")[2]] = stream.read()
    train = b"".join(parts[name] for name in sorted(parts) if name.startswith("data_batch"))

    def images(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        rows = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), rows[:, 0].astype(np.int64)

    return _cifar(images(train), images(parts["test_batch.bin"]))


def cifar_jpeg(paths: Sequence[Path]) -> Fields:
    """Two archives of ``class/number.jpg``.

    The files come class after class. They are put into one fixed random order, since the first
    rows would otherwise be of one class; the official order is lost. Decoding 60,000 small files
    takes 10 to 20 seconds, so the pixels are kept in the cache.
    """
    train, test = (_decoded(path) for path in paths)
    return _cifar(train, test)


def _cifar(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Fields:
    """The fields of either form, from pixels and labels."""
    return {
        "x_train": train[0],
        "y_train": train[1],
        "x_test": test[0],
        "y_test": test[1],
        "classes": _CIFAR_CLASSES,
    }


def _decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    kept = cache_dir() / "decoded" / f"{path.stem}-{sha256(path)[:16]}.npz"
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            return arrays["x"], arrays["y"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there, or damaged (the zip has checksums of its own): decode
    x, y = _decode(path)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as scratch:
            np.savez(scratch, x=x, y=y)
        Path(scratch.name).replace(kept)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return x, y


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    pixels, labels = [], []
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.endswith(".jpg") else None
            if stream is None:
                continue
            with Image.open(io.BytesIO(stream.read()), formats=["JPEG"]) as image:
                pixels.append(np.asarray(image.convert("RGB")))
            labels.append(_CIFAR_CLASSES.index(member.name.split("/")[-2]))
    order = np.random.RandomState(0).permutation(len(labels))
    return np.stack(pixels)[order], np.array(labels, dtype=np.int64)[order]
