from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paperworks.experiment.isolation import run_isolated
from paperworks.experiment.trial import Outcome

ARGUMENTS: dict[str, Any] = {"seed": 0, "device": "cpu"}


def run(function: Any, timeout: float = 60, memory: float = 2, **more: Any) -> Outcome:
    outcome = run_isolated(function, {**ARGUMENTS, **more}, timeout=timeout, memory=memory)
    assert outcome is not None
    return outcome


def test_a_result_comes_back(toys: ModuleType) -> None:
    outcome = run(toys.steady)
    assert outcome.status == "ok"
    assert outcome.result == toys.steady(**ARGUMENTS)
    assert outcome.error == ""


def test_an_exception_comes_back_with_its_traceback(toys: ModuleType) -> None:
    outcome = run(toys.raising)
    assert (outcome.status, outcome.result) == ("error", None)
    assert outcome.error.strip().endswith("RuntimeError: seed 0 went wrong")
    assert "toy_claims.py" in outcome.error


def test_a_hanging_trial_is_killed_with_what_it_started(toys: ModuleType, tmp_path: Path) -> None:
    from tests_helpers import gone

    pid_file = tmp_path / "pid"
    outcome = run(toys.hanging, timeout=1.5, pid_file=str(pid_file))
    assert outcome.status == "timeout"
    assert outcome.error == "ran past its limit of 1.5 s"
    assert 1.5 <= outcome.seconds < 10
    assert gone(int(pid_file.read_text()))


def test_a_segfault_costs_itself_alone(toys: ModuleType) -> None:
    outcome = run(toys.segfaulting)
    assert outcome.status == "crashed"
    assert outcome.error.startswith("killed by SIGSEGV")
    assert "in segfaulting" in outcome.error  # faulthandler's traceback
    assert run(toys.steady).status == "ok"


def test_an_early_exit_is_a_crash(toys: ModuleType) -> None:
    outcome = run(toys.exiting)
    assert outcome.status == "crashed"
    assert outcome.error.startswith("ended with exit status 7 and no result")


def test_memory_is_limited_and_measured(toys: ModuleType) -> None:
    over = run(toys.hungry, memory=0.3, gib=0.6)
    assert over.status == "memory"
    assert "the limit is 0.3 GiB" in over.error
    under = run(toys.hungry, memory=0.6, gib=0.3)
    assert under.status == "ok"
    assert 0.29 < under.memory < 0.5


def test_threads_are_limited(toys: ModuleType) -> None:
    outcome = run_isolated(toys.threads, ARGUMENTS, timeout=60, memory=2, threads=1)
    assert outcome is not None
    assert outcome.result is not None
    assert outcome.result.values == {"ours": 1, "theirs": 1, "others": 1}


def test_stop_ends_it_at_once(toys: ModuleType) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    started = time.monotonic()
    run(toys.steady)  # the server is up, so what follows is the stop alone
    outcome = run_isolated(toys.hanging, ARGUMENTS, timeout=60, memory=2, stop=stop)
    assert outcome is None
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_a_trial_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    from tests_helpers import gone

    pid_file = tmp_path / "pid"
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent.parent / 'toys')!r})\n"
        "import toy_claims\n"
        "from paperworks.experiment.isolation import run_isolated\n"
        "if __name__ == '__main__':\n"
        f"    work = {{'seed': 0, 'device': 'cpu', 'pid_file': {str(pid_file)!r}}}\n"
        "    run_isolated(toy_claims.hanging, work, timeout=300, memory=2)\n"
    )
    parent = subprocess.Popen([sys.executable, str(driver)])
    while not pid_file.exists():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert gone(int(pid_file.read_text()))
