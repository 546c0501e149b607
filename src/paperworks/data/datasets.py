"""``load`` and its companions: what a person calls."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from paperworks.data import files
from paperworks.data.errors import CorruptDataError
from paperworks.data.generated import GENERATORS
from paperworks.data.kinds import KINDS
from paperworks.data.registry import datasets, find_dataset


def names() -> list[str]:
    """The names of all data sets that :func:`load` knows, here or not.

    Examples
    --------
    >>> import paperworks.data
    >>> "planetoid/cora" in paperworks.data.names()
    True
    """
    return list(datasets())


def load(name: str, *, download: bool = True, **options: Any) -> Any:
    """Read a data set.

    Its files are looked for in the folder of ``PAPERWORKS_DATA``, then in the cache, and are
    downloaded where neither has them; their checksums are checked.

    Parameters
    ----------
    name : str
        One of :func:`names`; the part behind the slash will do (``"cora"``).
    download : bool
        False: use what is on this machine, and raise where it is not.
    **options
        Of generated sets alone: ``seed`` and ``test_size`` for ``digits``, ``seed`` and
        ``samples`` for ``mnist1d``.

    Returns
    -------
    Images, Text, Records, Graph or Regression
        By the kind of data; see :mod:`paperworks.data.kinds`.

    Raises
    ------
    ValueError
        For an unknown name or option.
    MissingDataError, DownloadError, CorruptDataError
        Where the files cannot be had or are damaged; the message says what to set or run.

    Examples
    --------
    >>> import paperworks.data
    >>> digits = paperworks.data.load("digits", seed=0)
    >>> digits.x_train.shape, digits.x_test.shape, digits.x_train.dtype.name
    ((1437, 8, 8), (360, 8, 8), 'uint8')
    """
    dataset = find_dataset(name)
    if dataset.generator:
        generate = GENERATORS[dataset.generator]
        known = list(inspect.signature(generate).parameters)
        unknown = [option for option in options if option not in known]
        if unknown:
            raise ValueError(f"{dataset.name} takes {', '.join(known)}; got {unknown[0]!r}")
        fields, about = generate(**options), "generated here"
    else:
        if options:
            raise ValueError(f"{dataset.name} takes no options, got {next(iter(options))!r}")
        from paperworks.data.readers import READERS

        found = files.ensure(dataset, may_download=download)
        fields = READERS[found.form.reader](found.paths, **found.form.options)
        about = found.form.about
    return KINDS[dataset.kind](**fields, name=dataset.name, about=about)


def available(name: str) -> bool:
    """Whether :func:`load` needs no download: generated, or its files are here and sound.

    Raises
    ------
    CorruptDataError
        Where they are here and damaged.
    """
    dataset = find_dataset(name)
    return bool(dataset.generator) or files.locate(dataset) is not None


def path(name: str) -> Path:
    """The file of a data set on this machine, or the folder of its files where there are several.

    Nothing is downloaded.

    Raises
    ------
    ValueError
        For an unknown name, and for a generated set, which has no file.
    MissingDataError, CorruptDataError
        Where it is not here, or damaged.
    """
    dataset = find_dataset(name)
    if dataset.generator:
        raise ValueError(f"{dataset.name} is generated and has no file: use load({name!r})")
    found = files.ensure(dataset, may_download=False)
    return found.paths[0] if len(found.paths) == 1 else found.folder


def fetch(name: str, *, progress: files.Progress | None = None) -> Path:
    """Bring a data set onto this machine, and put a damaged copy in the cache right.

    Does nothing where the files are here and sound.

    Parameters
    ----------
    name : str
        As for :func:`load`.
    progress : callable, optional
        Given a file's record, returns an object with ``total``, ``update(n)``, ``reset()`` and
        ``close()`` that shows its download.

    Returns
    -------
    Path
        As from :func:`path`.

    Raises
    ------
    DownloadError
        Where no host gave the files.
    CorruptDataError
        Where the folder of ``PAPERWORKS_DATA`` holds damaged files: that folder is never written.
    """
    dataset = find_dataset(name)
    if dataset.generator:
        raise ValueError(f"{dataset.name} is generated: there is nothing to fetch")
    try:
        found = files.ensure(dataset, progress=progress)
    except CorruptDataError as damaged:
        if dataset.download is None or not damaged.path.is_relative_to(files.cache_dir()):
            raise
        found = files.download(dataset, progress)
    return found.paths[0] if len(found.paths) == 1 else found.folder
