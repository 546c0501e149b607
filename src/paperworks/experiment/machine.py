"""The machine and the code that a result came from."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

import paperworks


@lru_cache
def describe(device: str) -> dict[str, Any]:
    """Processor, cores, memory, accelerator, system, version and commit, as plain JSON values."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "accelerator": _accelerator() if device == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "paperworks": paperworks.__version__,
        "commit": commit(),
    }


def resolve_device(device: str) -> str:
    """``auto`` becomes "cuda" where torch sees a GPU, else "cpu". A missing GPU is an error."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ValueError("torch sees no CUDA device on this machine; use --device cpu or auto")
    return "cpu"


@lru_cache
def commit() -> str | None:
    """The commit of the source tree that runs, with "+" where it has changes; None if installed."""
    source = Path(paperworks.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installed copy can lie inside somebody else's repository, untracked.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = git("rev-parse", "--short", "HEAD")
    if head is None:
        return None
    return head + ("+" if git("status", "--porcelain", "--", ".") else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
