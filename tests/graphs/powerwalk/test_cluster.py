"""The index in parts on a local Ray cluster, with a worker killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ppr_exact import random_graph

from paperworks.graphs import PartitionedPowerWalk, PowerWalk


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_cluster_builds_and_answers_though_a_worker_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    # By default Ray's workers give way to all else, such as the tests that run beside this one.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    A = random_graph(8_000, 50_000, 1)
    folder = tmp_path / "parts"
    killed: list[int] = []
    ready: list[bool] = []

    def kill_one() -> None:
        """End a worker as soon as the first part is there and others are being made."""
        limit = time.monotonic() + 200
        while time.monotonic() < limit and not list(folder.glob("part-*.ppr")):
            time.sleep(0.005)
        for process in psutil.Process().children(recursive=True):
            if not killed and "PoolActor" in " ".join(process.cmdline()):
                ready.append(len(list(folder.glob("part-*.ppr"))) < 9)
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    ray.init(
        num_cpus=3, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )  # fmt: skip
    try:
        killer = threading.Thread(target=kill_one)
        killer.start()
        parts = PartitionedPowerWalk.build(A, folder, parts=9, engine="ray", n_jobs=3)
        killer.join()
        assert killed
        assert ready == [True]
        found = parts.query_batch(np.arange(40), rounds=2, top=10)
    finally:
        ray.shutdown()
    whole = PowerWalk(A)
    for a, b in zip(parts.merged()._prints.arrays, whole._prints.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = whole.query_batch(np.arange(40), rounds=2, top=10)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-14)
