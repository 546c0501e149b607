"""Verifier for HumanEval-style problems: a function, and tests that call it.

Chen et al., arXiv 2107.03374, section 2.3, run the completed prompt together with its tests.
Departure: a chat model's answer is accepted as well, that is, a fenced block that holds the whole
function rather than the rest of it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from paperworks.scaling.repeated_sampling.problem import Judgement, Problem
from paperworks.scaling.repeated_sampling.sandbox import (
    Limits,
    available_fence,
    run_sandboxed,
)

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def build_program(problem: Problem, completion: str) -> str:
    """The program that tests one completion.

    ``problem.reference`` holds ``prompt`` (imports, signature and docstring), ``test`` (which
    defines ``check``) and ``entry_point``, as in HumanEval. A completion that defines the entry
    point comes after the prompt and replaces its stub; any other continues the prompt.
    """
    missing = [name for name in ("prompt", "test", "entry_point") if name not in problem.reference]
    if missing:
        raise ValueError(f"problem {problem.id!r} needs reference {', '.join(map(repr, missing))}")
    prompt, test, entry = (str(problem.reference[n]) for n in ("prompt", "test", "entry_point"))
    blocks = _FENCE.findall(completion)
    defines = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(entry)}\b", re.MULTILINE)
    whole = [block for block in blocks if defines.search(block)]
    code = whole[-1] if whole else blocks[0] if blocks else completion
    if defines.search(code):
        body = f"{prompt.rstrip()}\n    pass\n\n{_dedent(code)}"
    else:
        body = prompt + code
    return f"{body}\n\n{test}\n\ncheck({entry})\n"


@dataclass(frozen=True)
class CodeVerifier:
    r"""Run a completion against its tests in a fenced-in process.

    Parameters
    ----------
    limits : Limits
        Of time, memory, file size and processes.
    require_namespaces : bool
        Refuse to run where the network cannot be taken away. Default False.

    Warnings
    --------
    The fence limits accidents and is no jail: the code can read and write every file that you can,
    and without namespaces it has the network. :func:`run_sandboxed` lists what is left open. Run
    code you do not trust in a container or a virtual machine that holds nothing of value.

    Examples
    --------
    >>> problem = Problem("add", "", {"prompt": "def add(a, b):\n", "entry_point": "add",
    ...     "test": "def check(f):\n    assert f(2, 3) == 5\n"})
    >>> CodeVerifier()(problem, "    return a + b\n").status
    'passed'
    """

    limits: Limits = field(default_factory=Limits)
    require_namespaces: bool = False

    def __call__(self, problem: Problem, completion: str) -> Judgement:
        """Judge one completion."""
        program = build_program(problem, completion)
        result = run_sandboxed(
            program, limits=self.limits, require_namespaces=self.require_namespaces
        )
        last = result.output.splitlines()[-1] if result.output else ""
        return Judgement(result.status == "passed", result.status, detail=last[:200])

    def describe(self) -> dict[str, Any]:
        """Kind, limits, and whether the network is taken away."""
        return {
            "kind": "code",
            "limits": asdict(self.limits),
            "fence": asdict(available_fence()),
        }


def _dedent(code: str) -> str:
    """Move an indented block to the margin by its first line that holds something."""
    first = next((line for line in code.splitlines() if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    return "\n".join(line.removeprefix(margin) for line in code.splitlines())
