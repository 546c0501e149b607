"""Plain and logarithmic proximity measures of graphs, and clustering by them."""

from paperworks.graphs.log_proximity.clustering import ProximityClustering
from paperworks.graphs.log_proximity.measures import MEASURES, Measure
from paperworks.graphs.log_proximity.proximity import GraphProximity
from paperworks.graphs.log_proximity.reject import RejectCurve, reject_curve

__all__ = [
    "GraphProximity",
    "ProximityClustering",
    "reject_curve",
    "RejectCurve",
    "MEASURES",
    "Measure",
]
