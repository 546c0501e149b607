"""How results grow with data, parameters, compute and samples."""

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
from paperworks.scaling.learning_curves.curve import LearningCurve
from paperworks.scaling.learning_curves.growth import ModelGrowth
from paperworks.scaling.learning_curves.shared import SharedExponent
from paperworks.scaling.learning_curves.table import read_learning_curves
from paperworks.scaling.lines import BadLineError
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
]
