"""How results grow with data, parameters, compute and samples."""

from paperworks.scaling.concept_frequency.counting import count_captions, count_concepts
from paperworks.scaling.concept_frequency.counts import ConceptCounts
from paperworks.scaling.concept_frequency.rivals import TrendComparison, compare_trends
from paperworks.scaling.concept_frequency.similarity import (
    cap_similarity,
    match_similarity,
    nearest_similarity,
)
from paperworks.scaling.concept_frequency.tail import LongTail, balance_images, long_tail
from paperworks.scaling.concept_frequency.trend import (
    BinMeans,
    LogLinearTrend,
    bin_means,
    fit_log_linear,
)
from paperworks.scaling.data_pruning.prune import prune_dataset
from paperworks.scaling.data_pruning.selection import PrunedDataset
from paperworks.scaling.data_pruning.theory import PrunedPerceptron, pruned_perceptron
from paperworks.scaling.fitting import (
    LAWS,
    Comparison,
    Estimate,
    HeldOut,
    Law,
    LawFit,
    LawPrediction,
    Parameter,
    Runs,
    compare_laws,
    fit_law,
    hold_out_largest,
    read_runs,
)
from paperworks.scaling.generalization_difficulty.classification import ClassificationTask
from paperworks.scaling.generalization_difficulty.complexity import (
    Complexity,
    inductive_bias_complexity,
)
from paperworks.scaling.generalization_difficulty.control import ControlTask
from paperworks.scaling.generalization_difficulty.dimension import (
    DimensionEstimate,
    intrinsic_dimension,
)
from paperworks.scaling.generalization_difficulty.meta_learning import MetaLearningTask
from paperworks.scaling.generalization_difficulty.published import published_tasks
from paperworks.scaling.generalization_difficulty.separation import ClassDistance, class_distance
from paperworks.scaling.learning_curves.curve import LearningCurve
from paperworks.scaling.learning_curves.growth import ModelGrowth
from paperworks.scaling.learning_curves.shared import SharedExponent
from paperworks.scaling.learning_curves.table import read_learning_curves
from paperworks.scaling.lines import BadLineError
from paperworks.scaling.nmt.bleu import BleuLaw, compare_bleu_laws
from paperworks.scaling.nmt.composition import Composition, fit_test_sets
from paperworks.scaling.nmt.law import EncoderDecoderLaw, compare_with_total
from paperworks.scaling.nmt.records import read_translation_runs
from paperworks.scaling.recipe.critical import CriticalBatch, fit_critical_batch
from paperworks.scaling.recipe.equations import TrajectoryLaw
from paperworks.scaling.recipe.log import MissingRunsError, RunLog, read_run_log
from paperworks.scaling.recipe.recipe import (
    Recipe,
    TrainingPlan,
    estimate_recipe,
    missing_runs,
)
from paperworks.scaling.recipe.steps import (
    fit_data_law,
    fit_size_law,
    fit_steps_law,
    fit_trajectory,
)
from paperworks.scaling.repeated_sampling.answers import FinalAnswerVerifier, final_answer
from paperworks.scaling.repeated_sampling.backends import TransformersBackend
from paperworks.scaling.repeated_sampling.code import CodeVerifier
from paperworks.scaling.repeated_sampling.cost import (
    CostComparison,
    MeasuredCoverage,
    SamplingCost,
    cheapest,
)
from paperworks.scaling.repeated_sampling.coverage import Coverage, coverage, pass_at_k
from paperworks.scaling.repeated_sampling.law import CoverageLaw, log_spaced
from paperworks.scaling.repeated_sampling.openai_server import BackendError, OpenAIBackend
from paperworks.scaling.repeated_sampling.problem import Completion, Judgement, Problem
from paperworks.scaling.repeated_sampling.records import Counts, read_counts
from paperworks.scaling.repeated_sampling.sampler import RepeatedSampler, SamplingRun
from paperworks.scaling.repeated_sampling.sandbox import Limits, available_fence, run_sandboxed
from paperworks.scaling.repeated_sampling.selection import (
    Selection,
    best_of_n,
    majority_vote,
    score_weighted_vote,
)

__all__ = [
    # fit a law to runs
    "fit_law",
    "LawFit",
    "LawPrediction",
    "Estimate",
    "hold_out_largest",
    "HeldOut",
    "compare_laws",
    "Comparison",
    "LAWS",
    "Law",
    "Parameter",
    "read_runs",
    "Runs",
    "BadLineError",
    # encoder-decoder models
    "EncoderDecoderLaw",
    "compare_with_total",
    "fit_test_sets",
    "Composition",
    "BleuLaw",
    "compare_bleu_laws",
    "read_translation_runs",
    # the recipe of the laws of training
    "read_run_log",
    "RunLog",
    "missing_runs",
    "MissingRunsError",
    "estimate_recipe",
    "Recipe",
    "TrainingPlan",
    "TrajectoryLaw",
    "fit_size_law",
    "fit_data_law",
    "fit_critical_batch",
    "CriticalBatch",
    "fit_steps_law",
    "fit_trajectory",
    # learning curves
    "LearningCurve",
    "SharedExponent",
    "ModelGrowth",
    "read_learning_curves",
    # repeated sampling: measure
    "coverage",
    "Coverage",
    "pass_at_k",
    "read_counts",
    "Counts",
    # predict
    "CoverageLaw",
    "log_spaced",
    # choose without a verifier
    "majority_vote",
    "best_of_n",
    "score_weighted_vote",
    "Selection",
    # pay
    "SamplingCost",
    "MeasuredCoverage",
    "cheapest",
    "CostComparison",
    # sample
    "RepeatedSampler",
    "SamplingRun",
    "Problem",
    "Completion",
    "TransformersBackend",
    "OpenAIBackend",
    "BackendError",
    # verify
    "FinalAnswerVerifier",
    "final_answer",
    "CodeVerifier",
    "Judgement",
    "run_sandboxed",
    "available_fence",
    "Limits",
    # concept frequency: count
    "count_concepts",
    "count_captions",
    "ConceptCounts",
    # set against accuracy
    "fit_log_linear",
    "LogLinearTrend",
    "bin_means",
    "BinMeans",
    "compare_trends",
    "TrendComparison",
    # at equal similarity
    "nearest_similarity",
    "cap_similarity",
    "match_similarity",
    # test the tail
    "long_tail",
    "LongTail",
    "balance_images",
    # generalization difficulty
    "inductive_bias_complexity",
    "Complexity",
    "ClassificationTask",
    "MetaLearningTask",
    "ControlTask",
    "published_tasks",
    "intrinsic_dimension",
    "DimensionEstimate",
    "class_distance",
    "ClassDistance",
    # data pruning
    "prune_dataset",
    "PrunedDataset",
    "pruned_perceptron",
    "PrunedPerceptron",
]
