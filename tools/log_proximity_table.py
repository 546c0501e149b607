"""The measured tables of docs/papers/log-proximity.md, as Markdown.

    python tools/log_proximity_table.py STORE    # means over stored trials of the full tier
    python tools/log_proximity_table.py --peers  # real graphs, parameter chosen without labels

The first reads what `paperworks check log-proximity --tier full --store STORE` left; the second
needs PAPERWORKS_DATA, igraph and scikit-network, and takes minutes.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections import defaultdict
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from paperworks.claims.log_proximity import (
    COMPETITION,
    FAMILIES,
    MEASURES,
    SECTION_2,
    SIX_CLASSES,
    UNEQUAL,
)
from paperworks.data import load
from paperworks.graphs import ProximityClustering, as_graph

NAMES = {
    "G(100, (2) .3, .1)": COMPETITION[0],
    "G(100, (2) .3, .15)": COMPETITION[1],
    "G(100, (4) .3, .1)": COMPETITION[2],
    "G(100, (4) .3, .15)": COMPETITION[3],
    "G(200, (2) .3, .1)": COMPETITION[4],
    "G(200, (2) .3, .15)": COMPETITION[5],
    "G(200, (4) .3, .1)": COMPETITION[6],
    "G(200, (4) .3, .15)": COMPETITION[7],
    "G(100, (2) .2, .05)": SECTION_2[0],
    "G(99, (3) .3, .1)": SECTION_2[1],
    "10 + 90": UNEQUAL[0],
    "25 + 75": UNEQUAL[1],
    "six": SIX_CLASSES,
}
REAL = (
    "graphs/karate",
    "graphs/dolphins",
    "graphs/football",
    "graphs/polbooks",
    "graphs/sp_school_day_1",
    "graphs/polblogs",
    "planetoid/cora",
    "planetoid/pubmed",
)


def stored(path: str, claim: str) -> dict[str, list[dict[str, float]]]:
    """Values of the stored trials, by work; of code that changed, the latest."""
    latest = {}
    rows = sqlite3.connect(path).execute(
        'SELECT work, seed, "values" FROM trials '
        'WHERE claim = ? AND tier = "full" AND status = "ok" ORDER BY finished',
        (f"log-proximity/{claim}",),
    )
    for work, seed, values in rows:
        latest[work, seed] = json.loads(values)
    found = defaultdict(list)
    for (work, _), values in latest.items():
        found[work].append(values)
    return found


def competition(path: str) -> None:
    trials = stored(path, "log-communicability-first") or stored(path, "logarithmic-beats-plain")
    columns = {}
    for name, work in NAMES.items():
        for text, values in trials.items():
            if json.loads(text) == work:
                columns[name] = values
    print(f"{sum(map(len, columns.values()))} trials")
    means = {
        m: [float(np.mean([v[m] for v in values])) for values in columns.values()] for m in MEASURES
    }
    print(
        "| measure | mean | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 2) + "|"
    )
    for name in sorted(means, key=lambda m: -np.mean(means[m])):
        cells = " | ".join(f"{value:.2f}" for value in means[name])
        print(f"| `{name}` | {np.mean(means[name]):.3f} | {cells} |")
    print(
        "\n| family | plain | logarithmic | settings where the logarithm leads |\n| --- "
        + "| --- " * 3
        + "|"
    )
    for family in (*FAMILIES, "ppr"):
        plain, log = means[family], means[f"log-{family}"]
        ahead = sum(b > a for a, b in zip(plain, log, strict=True))
        print(f"| {family} | {np.mean(plain):.3f} | {np.mean(log):.3f} | {ahead} of {len(log)} |")


def real(path: str) -> None:
    trials = {json.loads(work)["data"]: v[0] for work, v in stored(path, "real-graphs").items()}
    print(
        "\n| measure | mean | " + " | ".join(trials) + " |\n" + "| --- " * (len(trials) + 2) + "|"
    )
    order = sorted(MEASURES, key=lambda m: -np.mean([v[m] for v in trials.values()]))
    for name in (*order, "logarithmic", "plain"):
        cells = " | ".join(f"{values[name]:.2f}" for values in trials.values())
        print(f"| `{name}` | {np.mean([v[name] for v in trials.values()]):.3f} | {cells} |")


def rivals(graph, k):
    import igraph
    import networkx as nx
    from sknetwork.clustering import Louvain

    igraph.set_random_number_generator(random.Random(0))
    pairs = np.column_stack(sp.triu(graph.adjacency).tocoo().coords)
    other = igraph.Graph(graph.n_nodes, pairs)
    yield "Louvain (igraph)", lambda: other.community_multilevel().membership
    yield (
        "Leiden (igraph)",
        lambda: other.community_leiden("modularity", n_iterations=-1).membership,
    )
    adjacency = sp.csr_matrix(graph.adjacency)
    yield "Louvain (scikit-network)", lambda: Louvain(random_state=0).fit_predict(adjacency)

    def greedy():
        parts = nx.community.greedy_modularity_communities(
            nx.from_scipy_sparse_array(graph.adjacency), cutoff=k, best_n=k
        )
        labels = np.zeros(graph.n_nodes, dtype=int)
        for c, part in enumerate(parts):
            labels[list(part)] = c
        return labels

    if graph.n_nodes < 5_000:
        yield "greedy modularity (networkx), told k", greedy


def peers() -> None:
    print("| graph | nodes | k | method | ARI | clusters | seconds |\n" + "| --- " * 7 + "|")
    for data in REAL:
        loaded = load(data)
        graph = as_graph(loaded.adjacency).largest_component()
        classes = loaded.labels[graph.nodes]
        k = len(np.unique(classes))
        methods = [
            (
                f"`{measure}`, {clusterer}",
                ProximityClustering(k, measure=measure, clusterer=clusterer, random_state=0),
            )
            for measure, clusterer in (
                ("log-comm", "ward"),
                ("log-comm", "kernel-kmeans"),
                ("log-comm", "spectral"),
                ("comm", "ward"),
            )
        ]
        runs = [(name, partial(model.fit_predict, graph)) for name, model in methods]
        for name, run in (*runs, *rivals(graph, k)):
            start = time.perf_counter()
            labels = run()
            seconds = time.perf_counter() - start
            score = adjusted_rand_score(classes, labels)
            print(
                f"| {data.partition('/')[2]} | {graph.n_nodes:,} | {k} | {name} | {score:.2f} | "
                f"{len(np.unique(labels))} | {seconds:.2g} |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:] == ["--peers"]:
        peers()
    elif len(sys.argv) == 2:
        competition(sys.argv[1])
        real(sys.argv[1])
    else:
        sys.exit(__doc__)
