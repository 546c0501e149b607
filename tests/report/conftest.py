from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from paperworks.experiment import Tier
from paperworks.experiment.runner import execute, plan
from paperworks.experiment.store import Store
from paperworks.report import Entry, collect


@pytest.fixture
def entries(toys: ModuleType, tmp_path: Path) -> list[Entry]:
    """Three toy claims after a run, and one that has not run."""
    works = ({"factor": 2.0}, {"factor": 3.0})
    claims = [
        toys.claim(toys.steady, "cheap", quick=Tier(works=works, seeds=5)),
        toys.claim(
            toys.steady,
            "dear <&>",
            paper="presto",
            statement="Costs 1 < 2 & more.",
            quick=Tier(works=({"factor": 0.5},), seeds=5),
        ),
        toys.claim(toys.partly_raising, "broken", paper="deis"),
        toys.claim(toys.steady, "later", paper="deis", quick=None, full=Tier()),
    ]
    with Store(tmp_path / "entries.sqlite") as store:
        list(execute(plan(claims, tier="quick"), store, jobs=2))
        return collect(claims, store)
