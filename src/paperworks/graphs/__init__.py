"""Graphs: proximity between nodes, and clusters of them."""

from paperworks.graphs.adjacency import WeightedGraph, as_graph
from paperworks.graphs.log_proximity import (
    GraphProximity,
    ProximityClustering,
    RejectCurve,
    reject_curve,
)

__all__ = [
    # any graph, as weights
    "as_graph",
    "WeightedGraph",
    # log-proximity
    "GraphProximity",
    "ProximityClustering",
    "reject_curve",
    "RejectCurve",
]
