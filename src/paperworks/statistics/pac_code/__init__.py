"""Sets of programs as one partial program with holes, with a PAC guarantee."""

from paperworks.statistics.pac_code.calibration import calibration_size
from paperworks.statistics.pac_code.partial import PartialProgram
from paperworks.statistics.pac_code.records import ScoredProgram, read_programs, write_programs
from paperworks.statistics.pac_code.scoring import score_programs
from paperworks.statistics.pac_code.sets import PACCodeSets, SetReport

__all__ = [
    "PACCodeSets",
    "PartialProgram",
    "SetReport",
    "ScoredProgram",
    "read_programs",
    "write_programs",
    "score_programs",
    "calibration_size",
]
