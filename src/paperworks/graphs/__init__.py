"""Graphs: proximity between nodes, clusters of them, and personalized PageRank."""

from paperworks.graphs.adjacency import WeightedGraph, as_graph
from paperworks.graphs.edge_list import read_edge_list
from paperworks.graphs.log_proximity import (
    GraphProximity,
    ProximityClustering,
    RejectCurve,
    reject_curve,
)
from paperworks.graphs.powerwalk import (
    PartitionedPowerWalk,
    PersonalizedRank,
    PersonalizedRanks,
    PowerWalk,
)

__all__ = [
    # any graph, as weights
    "as_graph",
    "WeightedGraph",
    "read_edge_list",
    # log-proximity
    "GraphProximity",
    "ProximityClustering",
    "reject_curve",
    "RejectCurve",
    # powerwalk
    "PowerWalk",
    "PersonalizedRank",
    "PersonalizedRanks",
    "PartitionedPowerWalk",
]
