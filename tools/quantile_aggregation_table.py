"""The measured tables of docs/papers/quantile-aggregation.md, from the stored full tier.

    paperworks check quantile-aggregation --tier full
    python tools/quantile_aggregation_table.py

Reads the store that PAPERWORKS_STORE names, or the user's own; runs nothing. Results of other code
than today's are left out.
"""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np

from paperworks.claims import quantile_aggregation as claims
from paperworks.experiment.fingerprint import fingerprint
from paperworks.experiment.store import Store


def stored(name: str) -> dict[str, list[tuple[dict, dict]]]:
    """(work, values) of each finished trial of the full tier, by data set in the claim's order."""
    claim = next(claim for claim in claims.CLAIMS if claim.name == name)
    found = defaultdict(list)
    with Store() as store:
        for key, record in store.find(claim.id, fingerprint(claim)):
            if key.tier == "full" and record.outcome.result is not None:
                work = json.loads(key.work)
                found[work["data"]].append((work, dict(record.outcome.result.values)))
    return {data: found[data] for data in claims.UCI if data in found}


def scores() -> None:
    contenders = (*claims.SINGLE, claims.AVERAGE, *claims.GLOBAL)
    print(f"| set | seeds | {' | '.join(contenders)} |")
    print("| --- |" + " --- |" * (1 + len(contenders)))
    pooled = defaultdict(list)
    for data, trials in stored("lower-score").items():
        ratios = []
        for label in contenders:
            logs = [np.log(values[label] / values[claims.OURS]) for _, values in trials]
            ratios.append(f"{np.exp(np.mean(logs)):.3f}")
            pooled[label].append(np.mean(logs))
        print(f"| {data} | {len(trials)} | {' | '.join(ratios)} |")
    means = " | ".join(f"{np.exp(np.mean(pooled[label])):.3f}" for label in contenders)
    print(f"| mean | | {means} |")


def order() -> None:
    print("\n| set | LightGBM | linear |")
    print("| --- | --- | --- |")
    for data, trials in stored("order-helps").items():
        cells = []
        for by in ("lightgbm", "linear"):
            ratios = [
                values[claims.CROSSED] / values[claims.ORDERED]
                for work, values in trials
                if work["by"] == by
            ]
            cells.append(f"{np.exp(np.mean(np.log(ratios))):.5f}" if ratios else "")
        print(f"| {data} | {' | '.join(cells)} |")


def coverage() -> None:
    print("\n| set | seeds | least coverage | furthest from 0.8 | binomial slack |")
    print("| --- | --- | --- | --- | --- |")
    for data, trials in stored("covers-at-least").items():
        least, far, slack = (
            np.mean([values[label] for _, values in trials])
            for label in (claims.COVERAGE, claims.CALIBRATED, claims.SLACK)
        )
        print(f"| {data} | {len(trials)} | {least:.3f} | {far:.3f} | {slack:.3f} |")


if __name__ == "__main__":
    scores()
    order()
    coverage()
