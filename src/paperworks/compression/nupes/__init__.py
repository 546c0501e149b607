"""NUPES: levels on a power law, its exponent searched or learned, any level for any weight."""

from paperworks.compression.nupes.grid import power_grid
from paperworks.compression.nupes.integer import IntegerPowerLinear, integer_power, integer_root
from paperworks.compression.nupes.method import NUPES
from paperworks.compression.nupes.search import search_exponent

__all__ = [
    "NUPES",
    "IntegerPowerLinear",
    "integer_power",
    "integer_root",
    "power_grid",
    "search_exponent",
]
