"""PAC sets of programs: are they smaller than simpler ones with the same guarantee?

Khakhar, Mell and Bastani (ICML 2023, arXiv 2302.08703), section 5: size is the share of nodes
removed, over a range of epsilon, with delta = 0.1 as in the authors' code. The contenders get the
same programs, halves, number of holes and number of thresholds, and the same calibration. Two are
baselines: cuts of whole statements or clauses only, and the same share of every program (as in the
authors' code). Greedy cuts, the paper's own variant, have claims of their own.

The programs are lines of HumanEval and SQL for GeoQuery, by SmolLM2-135M (``_code_tasks``). The
quick tier replays lines that were scored once (``pac_code_humaneval.md``); the full tier lets the
model write anew. Of each HumanEval problem a seed draws one line, so that lines are independent.

"guarantee" asks how often the promise is broken: calibration programs are drawn with replacement
from one pool, so that they are independent and the true miss rate is that of the pool. The other
contender takes the largest threshold whose observed miss rate is at most epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from paperworks.claims import _code_tasks
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.statistics.pac_code.calibration import allowed_misses
from paperworks.statistics.pac_code.records import ScoredProgram, read_programs
from paperworks.statistics.pac_code.sets import PACCodeSets

OURS = "integer program"
BASELINES, GREEDY = ("whole statements", "uniform cuts"), "greedy cuts"
METHODS = {
    OURS: "milp",
    BASELINES[0]: "statements",
    BASELINES[1]: "uniform",
    GREEDY: "greedy",
}
EPSILONS = (0.2, 0.3, 0.4, 0.5)
DELTA = 0.1
LANGUAGES = {"humaneval": ("python", ""), "geoquery": ("sql", "sqlite")}


def score(tasks: Sequence[_code_tasks.Task], device: str) -> list[ScoredProgram]:
    """The programs that SmolLM2-135M writes for the tasks."""
    from paperworks.data import load_model
    from paperworks.statistics.pac_code.scoring import score_programs

    model, tokenizer = load_model("smollm2-135m-instruct")
    return score_programs(
        model.to(device),
        tokenizer,
        [task.prompt for task in tasks],
        targets=[task.target for task in tasks],
        prefixes=[task.prefix for task in tasks],
        max_tokens=80,
    )


def drawn(
    task: str, rng: np.random.Generator, device: str, problems: int | None, fresh: bool
) -> list[ScoredProgram]:
    """One program of each group, in random order; of ``problems`` groups at most."""
    groups: dict[str, list[Any]] = {}
    if fresh:
        for each in getattr(_code_tasks, task)():
            groups.setdefault(each.group, []).append(each)
    else:
        shipped = resources.files("paperworks.claims") / f"pac_code_{task}.jsonl.gz"
        with resources.as_file(shipped) as path:
            for _, program in read_programs(path):
                groups.setdefault(program.prompt, []).append(program)
    names = list(groups)
    chosen = [
        groups[names[at]][rng.integers(len(groups[names[at]]))]
        for at in rng.permutation(len(names))[:problems]
    ]
    return score(chosen, device) if fresh else chosen


def sets_of(task: str, method: str, holes: int, levels: int) -> PACCodeSets:
    """The same settings for all contenders; the sets themselves do not depend on epsilon."""
    language, dialect = LANGUAGES[task]
    uniform = method == "uniform"
    return PACCodeSets(
        max_holes=holes,
        method=method,
        thresholds=np.linspace(0, 1, levels) if uniform else np.geomspace(0.05, 50, levels),
        language=language,
        dialect=dialect,
        unparsed="hole",
        time_limit=None,
    )


def sizes(
    *,
    seed: int,
    device: str,
    task: str,
    holes: int,
    levels: int,
    against: Sequence[str],
    problems: int | None = None,
    fresh: bool,
) -> TrialResult:
    """Share of nodes removed on one half, calibrated on the other, in per cent over epsilons."""
    rng = np.random.default_rng(seed)
    programs = drawn(task, rng, device, problems, fresh)
    half = len(programs) // 2
    values, curves = {}, []
    for label in (OURS, *against):
        misses, removed = table(programs, sets_of(task, METHODS[label], holes, levels))
        found = []
        for epsilon in EPSILONS:
            at = last_level(misses[:half].sum(0), allowed_misses(half, epsilon, DELTA))
            found.append(100.0 if at < 0 else 100 * float(removed[half:, at].mean()))
        values[label] = float(np.mean(found))
        curves.append(Curve(label, list(EPSILONS), found))
    return TrialResult(values, curves)


def table(programs: Sequence[ScoredProgram], sets: PACCodeSets) -> tuple[Any, Any]:
    """For each program and level, whether it is missed, and the share of nodes removed."""
    misses, removed = [], []
    for program in programs:
        family = sets.family(program)
        known: dict[Any, bool] = {}
        for each in family:
            if each.cut not in known:
                known[each.cut] = not each.contains(program.target or "")
        misses.append([known[each.cut] for each in family])
        removed.append([each.removed for each in family])
    return np.array(misses), np.array(removed)


def last_level(misses: Any, allowed: int) -> int:
    """The level before the first with too many misses, -1 where that is the first one."""
    too_many = np.flatnonzero(misses > allowed)
    return (int(too_many[0]) if too_many.size else len(misses)) - 1


PROMISED, OBSERVED = "promised", "observed miss rate"
SIZE, REPEATS = 50, 1000


def guarantee(
    *, seed: int, device: str, task: str, holes: int, levels: int, fresh: bool
) -> TrialResult:
    """Share of calibrations, in per cent, whose sets miss more often than epsilon."""
    rng = np.random.default_rng(seed)
    programs = drawn(task, rng, device, None, fresh)
    misses, _ = table(programs, sets_of(task, "milp", holes, levels))
    rates = misses.mean(0)
    broken = {OURS: 0, OBSERVED: 0}
    for _ in range(REPEATS):
        chosen = rng.integers(0, len(programs), SIZE)
        seen = misses[chosen].sum(0)
        for epsilon in EPSILONS:
            for label, allowed in (
                (OURS, allowed_misses(SIZE, epsilon, DELTA)),
                (OBSERVED, math.floor(SIZE * epsilon)),
            ):
                at = last_level(seen, allowed)
                broken[label] += at >= 0 and rates[at] > epsilon
    values = {label: 100 * many / (REPEATS * len(EPSILONS)) for label, many in broken.items()}
    return TrialResult(values | {PROMISED: 100 * DELTA})


def _python(against: Sequence[str], *, fresh: bool) -> Tier:
    work = {"task": "humaneval", "holes": 2, "against": list(against), "fresh": fresh}
    if fresh:
        return Tier(works=[work | {"levels": 60}], seeds=5, timeout=3600, memory=8)
    return Tier(works=[work | {"levels": 20, "problems": 80}], seeds=5)


def _sql(against: Sequence[str]) -> Tier:
    work = {"task": "geoquery", "holes": 2, "against": list(against), "fresh": True}
    return Tier(works=[work | {"levels": 60, "problems": 120}], seeds=5, timeout=3600, memory=8)


_COMMON: dict[str, Any] = {
    "paper": "pac-code-sets",
    "better": "lower",
    "metric": "nodes removed, mean over epsilon = 0.2, 0.3, 0.4, 0.5 (delta = 0.1), per cent",
    "ours": OURS,
    "trial": sizes,
    "effect": Effect("ratio", 1.0),
    "axes": Axes("epsilon", "nodes removed, per cent"),
}
_REQUIRES = ("transformers", "accelerate", "gguf", "sqlglot")

CLAIMS = (
    Claim(
        **_COMMON,
        name="python-size",
        statement=(
            "For lines of Python that SmolLM2-135M completes, partial programs chosen by the "
            "integer program remove fewer nodes than cuts of whole statements and than the same "
            "share of every program, at the same guarantee."
        ),
        contenders=BASELINES,
        quick=_python(BASELINES, fresh=False),
        full=_python(BASELINES, fresh=True),
    ),
    Claim(
        **_COMMON,
        name="python-greedy",
        statement=(
            "For the same lines, the integer program removes fewer nodes than greedy cuts, at the "
            "same guarantee."
        ),
        contenders=(GREEDY,),
        quick=_python([GREEDY], fresh=False),
        full=_python([GREEDY], fresh=True),
    ),
    Claim(
        **_COMMON,
        name="sql-size",
        statement=(
            "For SQL that SmolLM2-135M writes for questions on geography, partial programs chosen "
            "by the integer program remove fewer nodes than cuts of whole clauses and than the "
            "same share of every program, at the same guarantee."
        ),
        contenders=BASELINES,
        full=_sql(BASELINES),
        requires=_REQUIRES,
    ),
    Claim(
        **_COMMON,
        name="sql-greedy",
        statement=(
            "For the same SQL, the integer program removes fewer nodes than greedy cuts, at the "
            "same guarantee."
        ),
        contenders=(GREEDY,),
        full=_sql([GREEDY]),
        requires=_REQUIRES,
    ),
    Claim(
        paper="pac-code-sets",
        name="guarantee",
        statement=(
            "The sets break their promise of missing at most epsilon in fewer calibrations than "
            "the promised delta = 10 per cent, where a threshold at the observed miss rate breaks "
            "it in more."
        ),
        metric="calibrations on 50 programs that miss more often than epsilon, per cent",
        better="lower",
        ours=OURS,
        contenders=(PROMISED, OBSERVED),
        trial=guarantee,
        effect=Effect("difference", 0.0),
        full=Tier(
            works=[{"task": "humaneval", "holes": 2, "levels": 20, "fresh": False}],
            seeds=5,
            timeout=600,
        ),
    ),
)
