"""Runs first in the sandbox's process: fence it in, then become the program. No imports of ours.

Arguments: a JSON object with the limits, then the program's command line. Exit status 125 means
that the fence could not be built; 128 + s that the program died of signal s.
"""

import ctypes
import json
import os
import resource
import signal
import sys

NEW_USER, NEW_PID, NEW_NET, NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
NOBODY = 65534


def pass_on(child: int) -> None:
    """Wait for ``child``, collecting orphans meanwhile, and exit as it did."""
    os.closerange(3, 256)  # the pipe that says "passed" is the program's alone
    while True:
        gone, status = os.wait()
        if gone == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def build(fence: dict) -> None:
    """Apply the fence to this process, or exit with status 125."""
    linux = sys.platform.startswith("linux")
    libc = ctypes.CDLL(None, use_errno=True) if linux else None
    if fence["drop_root"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if fence["namespaces"]:
        # Own users, network, processes and IPC. The network holds a loopback that is down.
        if libc is None or libc.unshare(NEW_USER | NEW_NET | NEW_PID | NEW_IPC) != 0:
            os._exit(125)
        child = os.fork()
        if child:
            pass_on(child)
        # The first process of a process namespace: when it ends, all others in it are killed, also
        # those that left the process group. It dies with its parent, which the timeout kills.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        child = os.fork()
        if child:
            pass_on(child)
    if libc is not None:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    wanted = [
        (resource.RLIMIT_CPU, fence["cpu"], fence["cpu"] + 1),  # first a signal, then the end
        (resource.RLIMIT_FSIZE, fence["file_size"], fence["file_size"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, fence["memory"], fence["memory"]),
    ]
    if fence["namespaces"] or fence["drop_root"]:
        # Else the count is of all that the user runs, and a low limit forbids the first thread.
        wanted.append((resource.RLIMIT_NPROC, fence["processes"], fence["processes"]))
    for kind, soft, hard in wanted:
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            if linux:
                raise
            # macOS refuses a limit on address space; the verifier's docs say so.


def main() -> None:
    """Build the fence in argv[1] and execute argv[2:] inside it."""
    fence = json.loads(sys.argv[1])
    try:
        build(fence)
        os.execve(sys.argv[2], sys.argv[2:], fence["environment"])
    except (OSError, ValueError):
        os._exit(125)


if __name__ == "__main__":
    main()
