"""Trials that go well and trials that go wrong, importable by the processes that run them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.claims._kept import kept
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult


def steady(*, seed: int, device: str, factor: float = 2.0, count: str = "") -> TrialResult:
    """Ours takes about 1, theirs about ``factor``. Leaves a file per call in ``count``."""
    rng = np.random.default_rng(seed)
    if count:
        Path(count, f"{seed}-{factor}-{time.monotonic_ns()}").touch()
    ours, theirs = 1 + 0.1 * rng.random(), factor * (1 + 0.1 * rng.random())
    curves = [Curve("ours", [1, 2, 3], [3, 2, ours]), Curve("theirs", [1, 2, 3], [4, 3, theirs])]
    return TrialResult({"ours": ours, "theirs": theirs, "others": 2 * theirs}, curves)


def slow(*, seed: int, device: str, seconds: float = 1.0, count: str = "") -> TrialResult:
    time.sleep(seconds)
    return steady(seed=seed, device=device, count=count)


def begun(*, count: str) -> float:
    Path(count, f"made-{time.monotonic_ns()}").touch()
    return 2.0


def sharing(*, seed: int, device: str, seconds: float, count: str) -> TrialResult:
    """What all seeds share leaves a file too, when it is made."""
    return steady(seed=seed, device=device, factor=kept(begun, count=count), count=count)


def raising(*, seed: int, device: str) -> TrialResult:
    raise RuntimeError(f"seed {seed} went wrong")


def partly_raising(*, seed: int, device: str) -> TrialResult:
    if seed == 3:
        raise RuntimeError("seed 3 went wrong")
    return steady(seed=seed, device=device)


def hanging(*, seed: int, device: str, pid_file: str = "") -> TrialResult:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if pid_file:
        part = Path(pid_file + ".part")
        part.write_text(str(child.pid))
        part.rename(pid_file)
    time.sleep(600)
    raise AssertionError("unreachable")


def segfaulting(*, seed: int, device: str) -> TrialResult:
    ctypes.string_at(0)
    raise AssertionError("unreachable")


def exiting(*, seed: int, device: str) -> TrialResult:
    import os

    os._exit(7)


def hungry(*, seed: int, device: str, gib: float = 1.0) -> TrialResult:
    held = np.ones(int(gib * 2**27))
    time.sleep(1.0)
    return TrialResult({"ours": held[0], "theirs": 2.0, "others": 3.0})


def threads(*, seed: int, device: str) -> TrialResult:
    import numba
    import torch
    from threadpoolctl import threadpool_info

    compiled = numba.get_num_threads()  # starts numba's threads, which is when it may move torch's
    pools = max(pool["num_threads"] for pool in threadpool_info())
    return TrialResult({"ours": torch.get_num_threads(), "theirs": pools, "others": compiled})


def wordy(*, seed: int, device: str) -> Any:
    return "not a result"


def forgetful(*, seed: int, device: str) -> TrialResult:
    return TrialResult({"ours": 1.0, "theirs": 2.0})


def claim(trial: Any, name: str | None = None, **changes: Any) -> Claim:
    settings: dict[str, Any] = {
        "paper": "lion-k",
        "name": name or trial.__name__,
        "statement": "Ours is at least 1.5 times cheaper.",
        "metric": "cost",
        "better": "lower",
        "ours": "ours",
        "contenders": ("others", "theirs"),
        "effect": Effect("ratio", 1.5),
        "trial": trial,
        "quick": Tier(seeds=5, timeout=30, memory=1),
        "axes": Axes("step", "cost", y_scale="log"),
    }
    return Claim(**{**settings, **changes})
