"""Running a program in a fenced-in process of its own.

This limits accidents: endless loops, memory, disk, stray processes, and on Linux the network. It is
no jail. See :func:`run_sandboxed` for what it does not protect from.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_CHILD = Path(__file__).with_name("_sandbox_child.py")
_TAIL = 2000


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Parameters
    ----------
    wall : float
        Seconds by the clock, default 10; the process and its children are killed after.
    cpu : int
        CPU seconds of each process, default 5.
    memory : int
        Bytes of address space of each process, default 2 GiB. Not enforced by macOS.
    file_size : int
        Bytes of each file written, output included, default 10 MiB. The number of files is not
        limited.
    processes : int
        Processes and threads at once, default 32. Linux does not count root's: a sandbox started
        by root enforces it only where the interpreter can be run by nobody (``Fence.drop_root``).
        Without namespaces it is not enforced for other users either, since the count would then be
        of all that the user runs.
    """

    wall: float = 10.0
    cpu: int = 5
    memory: int = 2 * 1024**3
    file_size: int = 10 * 1024**2
    processes: int = 32

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"limit {name} must be > 0, got {value}")


@dataclass(frozen=True)
class Fence:
    """What this platform permits beside limits.

    Parameters
    ----------
    namespaces : bool
        The program has its own network (none), processes and users: Linux, where a user may make
        namespaces. A container often forbids it.
    drop_root : bool
        The sandbox was started by root and the program runs as nobody, which also keeps it from
        root's files. False for root where nobody cannot run this interpreter.
    """

    namespaces: bool
    drop_root: bool


@dataclass(frozen=True)
class SandboxResult:
    """How a program ended.

    ``status`` is "passed" (it ran to its last line), "failed" (it raised, or left early), "timeout"
    (wall clock or CPU), "memory", or "killed" (by a signal). ``output`` is the end of its standard
    error and output.
    """

    status: str
    output: str
    fence: Fence


def run_sandboxed(
    program: str, *, limits: Limits | None = None, require_namespaces: bool = False
) -> SandboxResult:
    """Run a Python program as a process of its own, with limits, and say whether it got through.

    Parameters
    ----------
    program : str
        Source of a Python program. It runs with the interpreter and the packages of this process,
        in an empty temporary folder, with an empty environment and no standard input.
    limits : Limits, optional
        Default :class:`Limits`.
    require_namespaces : bool
        Raise where the network cannot be taken away. Default False: run with the limits alone and
        say so in the result.

    Returns
    -------
    SandboxResult

    Raises
    ------
    RuntimeError
        On a platform without POSIX resource limits, where the fence cannot be built, or where
        namespaces are required and not permitted.

    Warnings
    --------
    Never run code that may mean harm with this alone. It does NOT protect from:

    - reading every file that you can read, your keys among them, and writing or deleting every
      file that you can write, outside the temporary folder too;
    - the network, where namespaces are not permitted (macOS, many containers): see ``fence``;
    - filling the disk with many files, or slowing the machine within the limits;
    - talking to local programs through Unix sockets in the file system, signalling your other
      processes (where there are no namespaces), or attacks on the kernel;
    - a program that reads its own source and forges the sign that it passed.

    For code you do not trust, run the whole of it in a container or a virtual machine that holds
    nothing of value, as a user with no rights.

    Examples
    --------
    >>> run_sandboxed("assert 1 + 1 == 2").status
    'passed'
    >>> run_sandboxed("raise SystemExit(0)").status
    'failed'
    """
    if sys.platform == "win32":
        raise RuntimeError("the sandbox needs POSIX resource limits; on Windows run it under WSL")
    fence = available_fence()
    if require_namespaces and not fence.namespaces:
        raise RuntimeError(
            "namespaces are not permitted here, so the network cannot be taken away; run where "
            "they are, or set require_namespaces=False"
        )
    return _run(program, limits or Limits(), fence)


@functools.cache
def available_fence() -> Fence:
    """The strongest fence that can be built here; tried once, by running an empty program."""
    linux = sys.platform.startswith("linux")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    for namespaces in (True, False) if linux else (False,):
        for drop_root in (True, False) if root else (False,):
            fence = Fence(namespaces, drop_root)
            with contextlib.suppress(RuntimeError):
                if _run("pass", Limits(), fence).status == "passed":
                    return fence
    raise RuntimeError("the sandbox cannot run an empty program here, even with limits alone")


def _run(program: str, limits: Limits, fence: Fence) -> SandboxResult:
    # The program passes by writing a secret to a pipe at its very end: an exit status of 0 can come
    # from a sys.exit() in the middle. It still could read the secret from its own source.
    secret = secrets.token_hex(16)
    received, sent = os.pipe()
    try:
        with tempfile.TemporaryDirectory(
            prefix="paperworks-sandbox-", ignore_cleanup_errors=True
        ) as folder:
            main = Path(folder, "program.py")
            ending = f"\n\nimport os as _os\n_os.write({sent}, b'{secret}')\n"
            main.write_text(program + ending, encoding="utf-8", errors="surrogatepass")
            work = Path(folder, "work")
            work.mkdir()
            if fence.drop_root:
                Path(folder).chmod(0o755)
                work.chmod(0o777)
            environment = {
                "HOME": str(work),
                "TMPDIR": str(work),
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "PYTHONHASHSEED": "0",
                # One thread each: a pool per core would meet the limits on processes and memory.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            settings = {**asdict(limits), **asdict(fence), "environment": environment}
            command = [sys.executable, "-I", "-S", "-B", str(_CHILD), json.dumps(settings)]
            command += [sys.executable, "-I", "-B", "-X", "utf8", str(main)]
            with Path(folder, "output").open("w+b") as output:
                code = _wait(command, work, output.fileno(), sent, limits.wall)
                os.close(sent)
                sent = -1
                os.set_blocking(received, False)
                try:
                    passed = os.read(received, 64) == secret.encode()
                except BlockingIOError:
                    passed = False
                output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
                tail = output.read().decode("utf-8", errors="replace").strip()
    finally:
        os.close(received)
        if sent >= 0:
            os.close(sent)
    if code == 125 and not passed:
        raise RuntimeError("the sandbox could not set its limits or namespaces")
    return SandboxResult(_status(code, passed, tail), tail, fence)


def _wait(command: list[str], work: Path, output: int, sent: int, wall: float) -> int | None:
    """Run to the end or to the wall clock's; None for the latter. Nothing of it outlives this."""
    process = subprocess.Popen(
        command,
        cwd=work,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(sent,),
        start_new_session=True,
    )
    try:
        return process.wait(timeout=wall)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # The group is the program's own session. With namespaces the death of its first process
        # also ends those that left the group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _status(code: int | None, passed: bool, tail: str) -> str:
    signalled = -code if code is not None and code < 0 else (code or 0) - 128
    if code is None or signalled == signal.SIGXCPU:
        return "timeout"
    if passed and code == 0:
        return "passed"
    if "MemoryError" in tail[-200:]:
        return "memory"
    return "killed" if signalled > 0 else "failed"
