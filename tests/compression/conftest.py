"""What the tests of compression share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Fresh layers have the same weights whichever tests ran before."""
    torch.manual_seed(0)
