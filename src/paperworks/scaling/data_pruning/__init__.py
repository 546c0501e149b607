"""Data pruning: difficulty scores, what to keep, and the theory of when to keep the hard."""

from paperworks.scaling.data_pruning.clusters import (
    Prototypes,
    prototypes,
    supervised_prototypes,
)
from paperworks.scaling.data_pruning.dynamics import TrainingDynamics
from paperworks.scaling.data_pruning.gradients import grand
from paperworks.scaling.data_pruning.outputs import el2n, margin
from paperworks.scaling.data_pruning.prune import prune_dataset
from paperworks.scaling.data_pruning.selection import PrunedDataset, select
from paperworks.scaling.data_pruning.simulation import (
    SimulatedPerceptron,
    max_margin,
    simulate_perceptron,
)
from paperworks.scaling.data_pruning.subsets import (
    Memorization,
    estimate_memorization,
    influence,
    memorization,
    random_subsets,
)
from paperworks.scaling.data_pruning.theory import (
    PrunedPerceptron,
    best_keep,
    crossover,
    pruned_perceptron,
)
from paperworks.scaling.data_pruning.training import train

__all__ = [
    # choose
    "prune_dataset",
    "PrunedDataset",
    "select",
    # scores without training
    "prototypes",
    "supervised_prototypes",
    "Prototypes",
    # scores from models
    "el2n",
    "margin",
    "grand",
    "TrainingDynamics",
    "train",
    "estimate_memorization",
    "memorization",
    "influence",
    "random_subsets",
    "Memorization",
    # theory
    "pruned_perceptron",
    "PrunedPerceptron",
    "crossover",
    "best_keep",
    "simulate_perceptron",
    "SimulatedPerceptron",
    "max_margin",
]
