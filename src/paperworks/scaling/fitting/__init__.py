"""The fitting core: scaling laws, fitted so that one may trust them with a budget."""

from paperworks.scaling.fitting.compare import Comparison, HeldOut, compare_laws, hold_out_largest
from paperworks.scaling.fitting.fit import fit_law
from paperworks.scaling.fitting.law import Law, Parameter
from paperworks.scaling.fitting.laws import LAWS
from paperworks.scaling.fitting.result import Estimate, LawFit, LawPrediction
from paperworks.scaling.fitting.runs import Runs, read_runs

__all__ = [
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
]
