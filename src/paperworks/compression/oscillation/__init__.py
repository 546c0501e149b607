"""Quantization-aware training without oscillation: StatsQ, CGA, QKR, and a meter.

S.-Y. Liu, Z. Liu, K.-T. Cheng, "Oscillation-free Quantization for Low-bit Vision Transformers",
ICML 2023, arXiv:2302.02210. Written from the paper and held against the authors' code; equations
are not cited by number. Departures stand in the module they concern, and together on the page.
"""

from paperworks.compression.oscillation.annealing import ConfidenceGuidedAnnealing
from paperworks.compression.oscillation.convert import QuantizationAware
from paperworks.compression.oscillation.export import export_packed
from paperworks.compression.oscillation.meter import OscillationMeter
from paperworks.compression.oscillation.statsq import StatsQuantizer

__all__ = [
    "QuantizationAware",  # a model in its quantization-aware form
    "StatsQuantizer",  # the quantizer of its weights
    "ConfidenceGuidedAnnealing",  # the end of its training
    "OscillationMeter",  # what to watch meanwhile
    "export_packed",  # and what comes out
]
