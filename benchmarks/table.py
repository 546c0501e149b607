"""Turn pytest-benchmark's JSON into a CSV and a table with ratios: ``table.py latest.json``."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from paperworks.experiment.machine import describe, resolve_device

LIBRARIES = ("numpy", "scipy", "torch", "numba", "POT", "ott-jax", "statsmodels", "lion-pytorch")
COLUMNS = ("file", "group", "contender", "ours", "median_s", "min_s", "max_s", "rounds", "ratio")


def main(source: Path) -> None:
    runs = json.loads(source.read_text())["benchmarks"]
    rows = [row for group in grouped(runs).values() for row in with_ratios(group)]
    about = provenance()
    with source.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "note", *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    text = markdown(rows, about)
    source.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def grouped(runs: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        file = run["fullname"].partition("::")[0]
        groups[file, run["group"]].append({"file": file, **run})
    return groups


def with_ratios(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per contender; the ratio is its median over the median of ours."""
    ours = [run["stats"]["median"] for run in group if run["extra_info"]["ours"]]
    return [
        {
            "file": run["file"],
            "group": run["group"],
            "contender": run["extra_info"]["contender"],
            "ours": run["extra_info"]["ours"],
            "median_s": run["stats"]["median"],
            "min_s": run["stats"]["min"],
            "max_s": run["stats"]["max"],
            "rounds": run["stats"]["rounds"],
            "ratio": round(run["stats"]["median"] / min(ours), 2) if ours else "",
            "note": run["extra_info"]["note"],
        }
        for run in group
    ]


def provenance() -> dict[str, str]:
    machine = describe(resolve_device("auto"))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return {
        "commit": str(machine["commit"]),
        "machine": f"{machine['processor']}, {machine['cores']} cores",
        "device": machine["accelerator"] or "cpu",
        "versions": ", ".join(versions),
    }


def markdown(rows: list[dict[str, Any]], about: dict[str, str]) -> str:
    lines = ["| contest | contender | median | times ours | note |", "|---|---|---:|---:|---|"]
    for row in rows:
        name = f"**{row['contender']}**" if row["ours"] else row["contender"]
        lines.append(
            f"| {row['group']} | {name} | {seconds(row['median_s'])} | {row['ratio']} "
            f"| {row['note']} |"
        )
    return "\n".join([*lines, "", "; ".join(f"{k}: {v}" for k, v in about.items()), ""])


def seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
