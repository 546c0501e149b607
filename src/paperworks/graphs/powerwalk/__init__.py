"""Personalized PageRank from an index of short random walks."""

from paperworks.graphs.powerwalk.partitions import PartitionedPowerWalk
from paperworks.graphs.powerwalk.power import PowerWalk
from paperworks.graphs.powerwalk.ranking import PersonalizedRank, PersonalizedRanks

__all__ = ["PowerWalk", "PartitionedPowerWalk", "PersonalizedRank", "PersonalizedRanks"]
