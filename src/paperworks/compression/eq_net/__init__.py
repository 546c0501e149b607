"""Elastic quantization: train one network, take it out at any bit width and in any form.

K. Xu, L. Han, Y. Tian, S. Yang, X. Zhang, "EQ-Net: Elastic Quantization Neural Networks", ICCV
2023, arXiv:2308.07650. Departures stand in the module they concern, and together on the page.
"""

from paperworks.compression.eq_net.convert import ElasticQuantization, choose, chosen
from paperworks.compression.eq_net.export import export_subnet
from paperworks.compression.eq_net.forms import Form, Space
from paperworks.compression.eq_net.losses import GroupProgressiveGuidance, weight_distribution_loss
from paperworks.compression.eq_net.predictor import AccuracyPredictor, measure, sample_settings
from paperworks.compression.eq_net.search import SearchResult, search_precision, setting_cost

__all__ = [
    "ElasticQuantization",  # a model in its elastic form
    "Form",  # how one layer is quantized
    "Space",  # the forms that a model can take
    "choose",  # put the model, or single layers, into a form
    "chosen",  # what form each layer is in
    "GroupProgressiveGuidance",  # what to train it with
    "weight_distribution_loss",  # and what to add
    "sample_settings",  # mixed-precision settings at random
    "measure",  # their accuracy
    "AccuracyPredictor",  # learned from it
    "setting_cost",  # what a setting takes
    "search_precision",  # the best setting within a budget
    "SearchResult",
    "export_subnet",  # and what comes out
]
