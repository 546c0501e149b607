"""Run a function in a process of its own, with a time limit and a memory limit.

Processes come from a fork server that has the heavy imports loaded already, so starting one
takes tens of milliseconds. One that raises, hangs, eats memory or segfaults costs itself alone.

The standard library's processes are used directly. Pebble, the kept library for this, has no
memory limit and does not tell the process id that one would need to watch it. The memory limit
is held by watching the resident size of the process and its children: address-space limits
(``setrlimit``) count CUDA's reservations and do not hold on macOS.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from paperworks.experiment.claim import TrialResult
from paperworks.experiment.trial import Outcome

_PRELOAD = [
    "paperworks.experiment.warm",  # before torch
    "numpy",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "torch",
    "torch._dynamo",  # which the first optimizer of a process would import
    "paperworks.experiment.isolation",
]
_GIB = 2**30
_POLL_SECONDS = 0.05
_START_SECONDS = 120.0  # the first start waits for the server's imports
_EXIT_SECONDS = 1.0  # for a process that has given its result to clean up after itself
_LOG_CHARACTERS = 4000  # how much of a dead process's output is kept

_context: Any = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)


def preload(modules: Iterable[str]) -> None:
    """Have the fork server import ``modules`` too, once for all trials.

    No effect once it runs, which it does from the first trial on. A module that cannot be imported
    is passed over.
    """
    if _context.get_start_method() == "forkserver":
        _context.set_forkserver_preload([*_PRELOAD, *sorted(modules)])


preload(())


def run_isolated(
    function: Callable[..., TrialResult],
    arguments: Mapping[str, Any],
    *,
    timeout: float,
    memory: float,
    threads: int = 1,
    stop: threading.Event | None = None,
) -> Outcome | None:
    """Call ``function(**arguments)`` in a new process and say how it ended. Never raises for it.

    Parameters
    ----------
    function : callable
        Something that pickles: a module-level function, or a claim's ``run``.
    arguments : mapping
        Its keyword arguments; anything that pickles.
    timeout : float
        Seconds from the start of the call until the process is killed.
    memory : float
        GiB above the size that the process had at the start of the call, its children counted in.
    threads : int
        How many threads BLAS, torch and numba may use inside.
    stop : threading.Event or None
        When it is set the process is killed and None comes back.

    Returns
    -------
    Outcome or None
    """
    receiver, sender = _context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="paperworks-") as folder:
        log = Path(folder) / "output.txt"
        process = _context.Process(
            target=_serve, args=(sender, str(log), function, dict(arguments), threads), daemon=False
        )
        try:
            process.start()
            sender.close()  # else the parent's own copy would keep the pipe open
            return _watch(process, receiver, log, timeout, memory, stop)
        finally:
            _kill(process)
            receiver.close()


def _watch(
    process: Any,
    receiver: Connection,
    log: Path,
    timeout: float,
    memory: float,
    stop: threading.Event | None,
) -> Outcome | None:
    started: float | None = None
    deadline = time.monotonic() + _START_SECONDS
    baseline = peak = 0.0

    def ended(status: Any, error: str = "", result: TrialResult | None = None) -> Outcome:
        seconds = 0.0 if started is None else time.monotonic() - started
        return Outcome(status, seconds, peak, result, error)

    while True:
        if stop is not None and stop.is_set():
            return None
        wait([receiver, process.sentinel], timeout=_POLL_SECONDS)
        if receiver.poll():
            try:
                kind, payload, used = receiver.recv()
            except EOFError:  # died while or before sending
                process.join()
                return ended("crashed", _post_mortem(process.exitcode, log))
            if kind == "started":
                started, baseline = time.monotonic(), used
                deadline = started + timeout
                continue
            peak = max(peak, used - baseline)
            outcome = ended("ok", result=payload) if kind == "ok" else ended(kind, payload)
            process.join(_EXIT_SECONDS)
            return outcome
        if started is not None:
            peak = max(peak, _resident_gib(process.pid) - baseline)
            if peak > memory:
                return ended("memory", f"held {peak:.2f} GiB; the limit is {memory:g} GiB")
        if time.monotonic() > deadline:
            if started is None:
                return ended("crashed", f"did not start within {_START_SECONDS:g} s")
            return ended("timeout", f"ran past its limit of {timeout:g} s")


def _serve(
    sender: Connection,
    log: str,
    function: Callable[..., TrialResult],
    arguments: dict[str, Any],
    threads: int,
) -> None:
    """The life of the trial's process."""
    # A session of its own: Ctrl-C at the terminal reaches the parent alone, which then ends this
    # process and everything that it started.
    if hasattr(os, "setsid"):
        os.setsid()
    _die_with_parent()
    with open(log, "w") as output:  # noqa: PTH123
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        faulthandler.enable(file=output, all_threads=False)
        with contextlib.suppress(BrokenPipeError):
            _limit_threads(threads)
            sender.send(("started", None, _resident_gib(os.getpid())))
            try:
                message: tuple[str, Any] = ("ok", function(**arguments))
            except MemoryError:
                message = ("memory", traceback.format_exc())
            except BaseException:  # SystemExit and KeyboardInterrupt in a trial are its errors too
                message = ("error", traceback.format_exc())
            sender.send((*message, _peak_gib()))


def _die_with_parent() -> None:
    """End this process group when the process that asked for it is gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _limit_threads(threads: int) -> None:
    from threadpoolctl import threadpool_limits

    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        # This starts numba's threads, which sets OpenMP's number, torch's included, to its own: so
        # it comes first. numba read its configuration when the server imported it.
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    threadpool_limits(threads)  # BLAS and OpenMP, torch's included


def _kill(process: Any) -> None:
    if process.pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        process.kill()
    process.join()


def _resident_gib(pid: int) -> float:
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total / _GIB


def _peak_gib() -> float:
    """The high-water mark of this process: polling alone would miss a short peak."""
    try:
        import resource
    except ImportError:  # Windows
        return _resident_gib(os.getpid())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def _post_mortem(exitcode: int | None, log: Path) -> str:
    if exitcode is not None and exitcode < 0:
        how = f"killed by {signal.Signals(-exitcode).name}"
    else:
        how = f"ended with exit status {exitcode} and no result"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    # faulthandler ends its report with one long line that names every loaded extension.
    kept = "\n".join(line for line in lines if not line.startswith("Extension modules:"))
    return f"{how}\n{kept[-_LOG_CHARACTERS:]}".strip()
