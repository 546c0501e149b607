"""Where files come from: the folder of ``PAPERWORKS_DATA``, then the cache, then the public host.

Whatever the place, a file is used only if its size and sha256 are those of the registry. A file is
hashed once per process as long as its size and time of change stay the same. Downloads go through
pooch: into a temporary file beside the target, checked there, then renamed, so that an interrupted
one leaves nothing under the file's own name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paperworks.data.errors import CorruptDataError, DataError, DownloadError, MissingDataError
from paperworks.data.registry import Dataset, File, Form

#: Makes pooch's progress object (``total``, ``update``, ``reset``, ``close``) for one file.
Progress = Callable[[File], Any]

_TIMEOUT = 30.0  # seconds without a byte before a host is given up
_CHUNK = 1 << 16

_hashed: dict[tuple[str, int, int], str] = {}


def cache_dir() -> Path:
    """The folder that downloads are kept in: ``PAPERWORKS_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("PAPERWORKS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("paperworks")


def user_dir() -> Path | None:
    """The folder that ``PAPERWORKS_DATA`` names, or None where it is not set.

    Raises
    ------
    DataError
        Where it names something that is not a folder.
    """
    chosen = os.environ.get("PAPERWORKS_DATA")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise DataError(f"PAPERWORKS_DATA={chosen} is not a folder: set it to one, or unset it")
    return folder


@dataclass(frozen=True)
class Found:
    """A data set's files on this machine."""

    form: Form
    folder: Path
    origin: str

    @property
    def paths(self) -> list[Path]:
        """The files, in the registry's order."""
        return [self.folder / file.name for file in self.form.files]


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; computed once per process, size and time of change."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _hashed:
        with path.open("rb") as stream:
            _hashed[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _hashed[key]


def check(path: Path, file: File, way_out: str) -> None:
    """Refuse ``path`` unless it holds exactly the bytes of ``file``.

    Raises
    ------
    CorruptDataError
        With the file's name, what is wrong with it, and ``way_out``.
    """
    size = path.stat().st_size
    if size != file.size:
        wrong = f"it has {size} bytes, not {file.size}"
    elif (found := sha256(path)) != file.sha256:
        wrong = f"its sha256 is {found[:12]}..., not {file.sha256[:12]}..."
    else:
        return
    raise CorruptDataError(path, wrong, way_out)


def locate(dataset: Dataset, *, verify: bool = True) -> Found | None:
    """The files of a data set on this machine, or None; the first form that is there in full.

    Raises
    ------
    CorruptDataError
        Where a file is there but not as the registry says (only with ``verify``).
    """
    command = f"paperworks data fetch {dataset.name}"
    places = [("cache", cache_dir() / "data", f"Run `{command}` to get it again.")]
    if (folder := user_dir()) is not None:
        way_out = (
            "Replace it in the folder of PAPERWORKS_DATA; or move it away there and run "
            f"`{command}`."
        )
        places.insert(0, ("PAPERWORKS_DATA", folder, way_out))
    for origin, root, way_out in places:
        for form in dataset.forms:
            found = Found(form, root / form.folder, origin)
            if all(path.is_file() for path in found.paths):
                for path, file in zip(found.paths, form.files, strict=True):
                    if verify:
                        check(path, file, way_out)
                return found
    return None


def missing(dataset: Dataset) -> MissingDataError:
    """The error for a data set that is not on this machine: what to run, what to set."""
    ways = []
    if (form := dataset.download) is not None:
        ways.append(f"run `paperworks data fetch {dataset.name}` ({human_size(form.size)})")
    local = dataset.forms[0]
    more = f" and {len(local.files) - 1} more" if len(local.files) > 1 else ""
    ways.append(
        f"set PAPERWORKS_DATA to a folder that holds {local.folder}/{local.files[0].name}{more}"
    )
    folder = os.environ.get("PAPERWORKS_DATA")
    looked = f"PAPERWORKS_DATA={folder}" if folder else "PAPERWORKS_DATA is not set"
    return MissingDataError(
        f"{dataset.name} is not on this machine ({looked}; cache {cache_dir()}): "
        f"{', or '.join(ways)}."
    )


def download(dataset: Dataset, progress: Progress | None = None) -> Found:
    """Bring the published files of a data set into the cache, replacing damaged ones there.

    Files that are there and sound are not asked for again. Hosts are tried in order.

    Raises
    ------
    MissingDataError
        Where no public host is known.
    DownloadError
        Where no host gave a file whose checksum is right.
    """
    form = dataset.download
    if form is None:
        raise missing(dataset)
    found = Found(form, cache_dir() / "data" / form.folder, "cache")
    for path, file in zip(found.paths, form.files, strict=True):
        _get(dataset, form, file, path, progress)
    return found


def _get(dataset: Dataset, form: Form, file: File, path: Path, progress: Progress | None) -> None:
    import pooch
    import requests

    if path.is_file():
        try:
            return check(path, file, "")
        except CorruptDataError:
            path.unlink(missing_ok=True)
    failures = []
    for host in form.hosts:
        url = file.url(host)
        downloader = pooch.HTTPDownloader(
            progressbar=progress(file) if progress else False, chunk_size=_CHUNK, timeout=_TIMEOUT
        )
        try:
            pooch.retrieve(
                url, f"sha256:{file.sha256}", path.name, path.parent, downloader=downloader
            )
        except ValueError:  # pooch's word for a wrong checksum
            failures.append(f"{url}: refused, what it sent is not the file of the checksum")
        except (requests.RequestException, OSError) as error:
            failures.append(f"{url}: {_plain(error)}")
        else:
            return None
    raise DownloadError(
        f"{dataset.name} could not be downloaded; {'; '.join(failures)}. Try again later, or set "
        f"PAPERWORKS_DATA to a folder that holds {form.folder}/{file.name}."
    )


def _plain(error: Exception) -> str:
    """One clause instead of the nested messages of the HTTP libraries."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT:.0f} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return str(error)


def ensure(
    dataset: Dataset, *, may_download: bool = True, progress: Progress | None = None
) -> Found:
    """The files of a data set, checked; downloaded where they are not here and that is allowed."""
    found = locate(dataset)
    if found is not None:
        return found
    if not may_download:
        raise missing(dataset)
    return download(dataset, progress)


def human_size(size: int) -> str:
    """Bytes as a person reads them: ``"11.6 MB"``, in powers of ten.

    >>> human_size(11594722)
    '11.6 MB'
    """
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
