"""Let SmolLM2-135M write the programs that the claim of pac-code-sets replays, and keep them.

    python tools/pac_code_runs.py humaneval src/paperworks/claims/pac_code_humaneval.jsonl.gz

Minutes on one core. ``geoquery`` in place of ``humaneval`` writes the other tasks' programs, which
are not shipped. The field ``prompt`` holds what the line belongs to, not the prompt itself.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch

from paperworks.claims import _code_tasks
from paperworks.claims.pac_code_sets import score
from paperworks.statistics.pac_code.records import write_programs


def main(name: str, path: Path) -> None:
    """Score all tasks and write them."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    tasks = getattr(_code_tasks, name)()
    programs = score(tasks, "cpu")
    write_programs(
        path,
        [
            dataclasses.replace(
                each, prompt=task.group, logprobs=[round(value, 5) for value in each.logprobs]
            )
            for task, each in zip(tasks, programs, strict=True)
        ],
    )
    seconds = time.perf_counter() - start
    print(f"{len(tasks)} tasks, torch {torch.__version__}, {seconds:.0f} s, {path}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
