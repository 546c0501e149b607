"""Make a trained model smaller, and know what it cost."""

from paperworks.compression.adaround import AdaRound
from paperworks.compression.describe import LayerSummary, describe
from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.eq_net import (
    AccuracyPredictor,
    ElasticQuantization,
    GroupProgressiveGuidance,
    export_subnet,
    search_precision,
    weight_distribution_loss,
)
from paperworks.compression.gblm import GBLMPruner
from paperworks.compression.global_magnitude import (
    GlobalMagnitudePruner,
    GradualPruning,
    MultiplyAdds,
    multiply_adds,
)
from paperworks.compression.gptq import GPTQ
from paperworks.compression.llm_fp4 import LLMFP4
from paperworks.compression.nupes import NUPES
from paperworks.compression.oscillation import (
    ConfidenceGuidedAnnealing,
    OscillationMeter,
    QuantizationAware,
    StatsQuantizer,
    export_packed,
)
from paperworks.compression.pruning import MagnitudePruner, Wanda
from paperworks.compression.rounding import MinMaxFP, RoundToNearest, SmoothQuant
from paperworks.compression.saving import load_compressed, save_compressed
from paperworks.compression.sparsegpt import SparseGPT
from paperworks.compression.text import calibration_windows, perplexity

__all__ = [
    # Pruning
    "GBLMPruner",  # weights, activations and gradients
    "Wanda",
    "SparseGPT",
    "MagnitudePruner",
    "GlobalMagnitudePruner",  # one rank of all weights, with a floor for each layer
    "GradualPruning",  # the same in steps while the network trains
    "multiply_adds",  # what a sparse model saves
    "MultiplyAdds",
    # Quantization after training
    "LLMFP4",  # floating point, weights and inputs
    "NUPES",  # levels on a power law, without data or learned
    "AdaRound",
    "GPTQ",
    "SmoothQuant",
    "MinMaxFP",
    "RoundToNearest",
    # Quantization-aware training
    "QuantizationAware",  # a model in a form that trains with few bits
    "StatsQuantizer",  # the quantizer of its weights
    "ConfidenceGuidedAnnealing",  # the end of its training
    "OscillationMeter",  # what to watch meanwhile
    "export_packed",  # and what comes out
    # One training for many bit widths
    "ElasticQuantization",  # a model in its elastic form
    "GroupProgressiveGuidance",  # what to train it with
    "weight_distribution_loss",  # and what to add
    "AccuracyPredictor",  # of any setting of bits
    "search_precision",  # bits for each layer within a budget
    "export_subnet",
    # What every method ends in
    "EmbeddingQuantizer",
    "describe",
    "LayerSummary",
    "save_compressed",
    "load_compressed",
    "calibration_windows",
    "perplexity",
]
