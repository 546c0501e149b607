"""The sandbox and the verifier for code: every limit is hit once by a program that needs it."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path

import pytest

from paperworks.scaling import CodeVerifier, Limits, Problem, available_fence, run_sandboxed
from paperworks.scaling.repeated_sampling import sandbox
from paperworks.scaling.repeated_sampling.code import build_program

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the sandbox needs POSIX resource limits"
)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux enforces this limit")
ADD = Problem(
    "add",
    "",
    {
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "test": "def check(f):\n    assert f(2, 3) == 5\n",
        "entry_point": "add",
    },
)


def needs_namespaces() -> None:
    if not available_fence().namespaces:
        pytest.skip("user namespaces are not permitted here")


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("x = 1", "passed", ""),
        ("print('hi'); import sys; print('ho', file=sys.stderr)", "passed", "hi"),
        ("1 / 0", "failed", "ZeroDivisionError"),
        ("def (", "failed", "SyntaxError"),
        ("raise SystemExit(0)", "failed", ""),
        ("import os; os._exit(0)", "failed", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed", ""),
        ("print('\\udce4'.encode('utf-8', 'surrogateescape'))", "passed", "xe4"),
        ("input()", "failed", "EOFError"),
    ],
)
def test_says_how_a_program_ended(program: str, status: str, words: str) -> None:
    result = run_sandboxed(program)
    assert result.status == status
    assert words in result.output


def test_time_by_the_clock() -> None:
    start = time.monotonic()
    assert run_sandboxed("import time; time.sleep(60)", limits=Limits(wall=1)).status == "timeout"
    assert time.monotonic() - start < 20


def test_time_of_the_processor() -> None:
    result = run_sandboxed("while True: pass", limits=Limits(wall=30, cpu=1))
    assert result.status == "timeout"


@linux
def test_memory() -> None:
    result = run_sandboxed("x = bytearray(10**9)", limits=Limits(memory=300 * 2**20))
    assert result.status == "memory"


def test_file_size_and_output() -> None:
    limits = Limits(file_size=10_000)
    big = run_sandboxed("open('f', 'wb').write(b'x' * 20_000)", limits=limits)
    assert big.status == "failed"
    assert "File too large" in big.output
    flood = run_sandboxed("print('x' * 10**6, flush=True)", limits=limits)
    assert flood.status != "passed"
    assert len(flood.output) <= 10_000


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_namespaces()
    if os.geteuid() == 0 and not available_fence().drop_root:
        # Linux does not count root's processes, and nobody cannot run this interpreter: take one
        # that is open to all.
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
        monkeypatch.setattr(sandbox, "available_fence", available_fence.__wrapped__)
        if not Path(sys.executable).exists() or not sandbox.available_fence().drop_root:
            pytest.skip("needs an interpreter that nobody can run")
    forks = "import os, time\nfor _ in range(40):\n    if os.fork() == 0:\n        time.sleep(30)\n"
    result = run_sandboxed(forks, limits=Limits(processes=8))
    assert result.status == "failed"
    assert "Resource temporarily unavailable" in result.output


def test_network_is_gone_where_namespaces_are_permitted() -> None:
    needs_namespaces()
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:  # a server that is really there
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        result = run_sandboxed(program)
    assert result.status == "failed"
    assert "unreachable" in result.output


def test_no_process_outlives_the_program(tmp_path: Path) -> None:
    needs_namespaces()
    # A daemon in a session of its own would write this file two seconds later.
    left = tmp_path / "left"
    tmp_path.chmod(0o777)
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(2)\n"
        f"    open({str(left)!r}, 'w').close()\n"
        "    os._exit(0)\n"
    )
    assert run_sandboxed(daemon).status == "passed"
    time.sleep(3)
    assert not left.exists()


def test_environment_and_folder_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERWORKS_SECRET", "key")
    program = (
        "import os, sys\n"
        "assert 'PAPERWORKS_SECRET' not in os.environ\n"
        "assert os.listdir('.') == [] and os.getcwd() != '/'\n"
        "assert os.environ['HOME'] == os.getcwd()\n"
        "open('file', 'w').close()\n"
        "print(os.getcwd())\n"
    )
    result = run_sandboxed(program)
    assert result.status == "passed", result.output
    assert not Path(result.output).exists()


def test_limits_alone_where_namespaces_are_not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = sandbox.Fence(namespaces=False, drop_root=False)
    monkeypatch.setattr(sandbox, "available_fence", lambda: bare)
    assert run_sandboxed("x = 1").fence == bare
    assert run_sandboxed("while True: pass", limits=Limits(cpu=1)).status == "timeout"
    assert run_sandboxed("import os; os.kill(os.getpid(), 9)").status == "killed"
    with pytest.raises(RuntimeError, match="the network cannot be taken away"):
        run_sandboxed("x = 1", require_namespaces=True)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="limit cpu must be > 0, got 0"):
        Limits(cpu=0)
    with pytest.raises(ValueError, match="problem 'p' needs reference 'test', 'entry_point'"):
        CodeVerifier()(Problem("p", "", {"prompt": ""}), "")


@pytest.mark.parametrize(
    ("completion", "correct"),
    [
        ("    return a + b\n", True),
        ("    return a - b\n", False),
        ("```python\ndef add(a, b):\n    return a + b\n```", True),
        ("Sure!\n```python\nimport math\n\ndef add(a, b):\n    return a + b\n```\nUse it", True),
        ("```\n    return a + b\n```", True),
        ("```python\ndef add(a, b):\n    return a + b", True),  # cut off before the closing fence
        ("  ```py\n  def add(a, b):\n      return a + b\n  ```", True),
        ("def add(a, b):\n    return a + b", True),
        ("```python\nadd(1, 2)\n```\n```python\ndef add(a, b):\n    return a + b\n```", True),
        ("    return a + b\nraise SystemExit(0)\n", False),
        ("", False),
    ],
)  # fmt: skip
def test_completions_of_many_kinds(completion: str, correct: bool) -> None:
    assert CodeVerifier()(ADD, completion).correct is correct


def test_program_holds_prompt_completion_tests_in_order() -> None:
    program = build_program(ADD, "    return a + b\n")
    assert program.startswith('def add(a, b):\n    """Add."""\n    return a + b\n')
    assert program.rstrip().endswith("check(add)")


def test_humaneval_references_pass_and_stubs_fail() -> None:
    root = os.environ.get("PAPERWORKS_DATA")
    if not root:
        pytest.skip("PAPERWORKS_DATA is unset; it names a folder with humaneval/")
    with gzip.open(Path(root, "humaneval", "HumanEval.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    verify = CodeVerifier()
    for row in rows[::16]:
        problem = Problem(row["task_id"], row["prompt"], row)
        assert verify(problem, row["canonical_solution"]).correct, row["task_id"]
        chat = f"```python\n{row['prompt']}{row['canonical_solution']}\n```"
        assert verify(problem, chat).correct, row["task_id"]
        assert not verify(problem, "    return None\n").correct, row["task_id"]
