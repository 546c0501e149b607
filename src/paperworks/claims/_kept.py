"""What several trials look at is made once and kept on disk: trained networks, exact solutions.

It lies in the folder ``kept`` of the cache, under a fingerprint of the module that makes it and of
all that this imports: of changed code it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from filelock import FileLock

from paperworks.data.files import cache_dir
from paperworks.experiment.fingerprint import module_fingerprint
from paperworks.writing import whole

T = TypeVar("T")

SINCE = "PAPERWORKS_KEPT_SINCE"
"""The environment variable of the time, in seconds since 1970, before which nothing counts."""


def kept(make: Callable[..., T], **settings: Any) -> T:
    """What ``make(**settings)`` returned before, under the same code and torch; or now.

    Trials that want the same at the same time wait for the first.

    Parameters
    ----------
    make : callable
        A function of a module, that draws from its settings alone. It returns what torch saves
        and loads without running code: tensors, numbers, strings, and lists and dicts of them.
    **settings
        What JSON can hold.
    """
    told = {"make": make.__qualname__, "torch": str(torch.__version__), **settings}
    key = json.dumps({"code": module_fingerprint(make.__module__), **told}, sort_keys=True)
    name = f"{make.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.pt"
    path = cache_dir() / "kept" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file() and path.stat().st_mtime >= float(os.environ.get(SINCE, 0)):
            return torch.load(path, weights_only=True)["made"]
        made = make(**settings)
        with whole(path) as part:
            torch.save({"settings": told, "made": made}, part)
        return made
