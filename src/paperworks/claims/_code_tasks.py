"""Programs for a small model to write: lines of HumanEval, and SQL for questions on geography.

**Lines of HumanEval.** As in the paper's section 5.2 and the authors' code: the model sees the
problem and the solution's lines before, up to the ``return`` of the line in question, and writes
the rest of the line; lines with fewer than five nodes are left out. The authors take the last line
of each problem. Here assignments are taken too, up to their ``=``; a trial draws one line of each
problem, so that the lines of a trial are independent.

**GeoQuery.** The paper's section 5.1 parses Spider with a fine-tuned T5. A model of 135M
parameters needs help: each question comes with the four most similar training questions (TF-IDF)
and their SQL. Tables are named without the corpus's machine-made aliases, and SQL of more than 200
characters is left out.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass

LEAST_NODES = 5
SHOTS = 4
LONGEST = 200


@dataclass(frozen=True)
class Task:
    """A prompt, the true program, the certain text before it, and what the task belongs to."""

    group: str
    prompt: str
    target: str
    prefix: str


def humaneval() -> list[Task]:
    """The lines of HumanEval's solutions that are a return or an assignment of some size."""
    from paperworks.data import load

    tasks = []
    for problem in load("humaneval").test:
        before = problem["prompt"]
        for line in problem["canonical_solution"].split("\n"):
            task = _line(problem["task_id"], before, line)
            if task is not None:
                tasks.append(task)
            before += line + "\n"
    return tasks


def _line(group: str, before: str, line: str) -> Task | None:
    text = line.strip()
    try:
        (statement,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    nodes = sum(isinstance(node, (ast.stmt, ast.expr)) for node in ast.walk(statement))
    if nodes < LEAST_NODES:
        return None
    if isinstance(statement, ast.Return):
        prefix = "return"
    elif isinstance(statement, ast.Assign):
        prefix = text[: statement.value.col_offset].rstrip(" (")
    else:
        return None
    indent = line[: len(line) - len(line.lstrip())]
    return Task(group, before + indent + prefix, text, prefix)


def geoquery() -> list[Task]:
    """The development and test questions of GeoQuery, each with its four training examples."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    pairs: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for entry in _geoquery_entries():
        question, sql, split = entry
        if len(sql) <= LONGEST:
            pairs["train" if split == "train" else "test"].append((question, sql))
    vectors = TfidfVectorizer(ngram_range=(1, 2))
    known = vectors.fit_transform([question for question, _ in pairs["train"]])
    alike = (vectors.transform([question for question, _ in pairs["test"]]) @ known.T).toarray()
    tasks = []
    for at, (question, sql) in enumerate(pairs["test"]):
        best = np.argsort(-alike[at], kind="stable")[:SHOTS][::-1]  # the nearest comes last
        shots = "".join(
            f"Question: {q}\nSQL: {s}\n\n" for q, s in map(pairs["train"].__getitem__, best)
        )
        tasks.append(Task(str(at), f"{shots}Question: {question}\nSQL:", sql, ""))
    return tasks


def _geoquery_entries() -> list[tuple[str, str, str]]:
    """Question, SQL and part (train, dev or test), with names and places filled in."""
    from paperworks.data import load

    found = []
    for entry in load("geoquery").test:
        for sentence in entry["sentences"]:
            question, sql = sentence["text"], entry["sql"][0]
            for name, value in sentence["variables"].items():
                question, sql = question.replace(name, value), sql.replace(name, value)
            found.append((question, _without_aliases(sql), sentence["question-split"]))
    return found


def _without_aliases(sql: str) -> str:
    """``CITY AS CITYalias0`` is ``city``; where a table comes twice, ``city AS city1``."""
    import sqlglot

    aliases = set(re.findall(r"\b([A-Za-z_]+)alias(\d+)\b", sql))
    times = Counter(table for table, _ in aliases)
    for table, number in aliases:
        name = table.lower()
        new = name if times[table] == 1 else f"{name}{int(number) + 1}"
        alias = f"{table}alias{number}"
        sql = re.sub(rf"\b{table} AS {alias}\b", name if new == name else f"{name} AS {new}", sql)
        sql = re.sub(rf"\b{alias}\b", new, sql)
    return sqlglot.parse_one(sql.rstrip("; "), read="sqlite").sql("sqlite")
