"""Estimators and guarantees of statistics."""

from paperworks.statistics.pac_code import (
    PACCodeSets,
    PartialProgram,
    ScoredProgram,
    SetReport,
    calibration_size,
    read_programs,
    score_programs,
    write_programs,
)
from paperworks.statistics.presto import (
    PrestoClassifier,
    PrestoClassifierCV,
    PrestoPath,
    presto_path,
)

__all__ = [
    "PACCodeSets",
    "PartialProgram",
    "ScoredProgram",
    "SetReport",
    "calibration_size",
    "read_programs",
    "score_programs",
    "write_programs",
    "PrestoClassifier",
    "PrestoClassifierCV",
    "presto_path",
    "PrestoPath",
]
