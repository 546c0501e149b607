"""Small helpers for tests of processes."""

from __future__ import annotations

import time

import psutil


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has), within a few seconds."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
