from __future__ import annotations

import hashlib

import pytest
import torch

from paperworks.diffusion.checkpoints import digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_a_digest_is_of_the_bytes(dtype: torch.dtype) -> None:
    one = torch.arange(6).reshape(2, 3).to(dtype)
    for each in (one, one.T, one[0, 0], one[:0]):
        assert digest(each) == hashlib.sha256(each.numpy().tobytes()).hexdigest()
    assert digest(one, one) != digest(one)


def test_a_digest_of_what_numpy_has_not() -> None:
    one = torch.tensor([1.0, 2.0]).bfloat16()
    assert digest(one) == digest(one.view(torch.int16))
