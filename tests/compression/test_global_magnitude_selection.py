"""The selection against one stable sort of everything in NumPy."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from paperworks.compression.global_magnitude import selection

Case = tuple[list[Tensor], int, list[int]]


def by_sorting(weights: list[Tensor], keep: int, floors: list[int]) -> list[np.ndarray]:
    """Which entries stay: each tensor's last few in the order are safe, the lowest others go."""
    flat = [weight.double().abs().numpy().ravel() for weight in weights]
    owner = np.repeat(np.arange(len(flat)), [len(each) for each in flat])
    order = np.argsort(np.concatenate(flat), kind="stable")
    safe = np.zeros(len(owner), dtype=bool)
    for i, floor in enumerate(floors):
        safe[order[owner[order] == i][len(flat[i]) - floor :]] = True
    stays = np.ones(len(owner), dtype=bool)
    stays[order[~safe[order]][: len(owner) - keep]] = False
    return np.split(stays, np.cumsum([len(each) for each in flat])[:-1])


def check(weights: list[Tensor], keep: int, floors: list[int]) -> None:
    expected = by_sorting(weights, keep, floors)
    before = [weight.double().numpy().ravel() for weight in weights]
    cuts = selection.select(weights, keep, floors)
    assert sum(cut.kept for cut in cuts) == keep
    for weight, cut, old, stays in zip(weights, cuts, before, expected, strict=True):
        selection.zero_below(weight, cut)
        assert weight.double().numpy().ravel().tolist() == np.where(stays, old, 0).tolist()
        assert cut.kept == stays.sum()


@st.composite
def cases(draw: Any) -> Case:
    dtype = draw(st.sampled_from(selection.DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = []
    for _ in range(draw(st.integers(1, 5))):
        shape = (draw(st.integers(1, 8)), draw(st.integers(1, 8)))
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-4, 4)
        if draw(st.booleans()):  # ties, zeros of both signs among them
            values = np.round(values)
        weights.append(torch.from_numpy(values).to(dtype))
    if draw(st.booleans()):
        weights = [weight.T for weight in weights]
    floors = [draw(st.integers(0, weight.numel())) for weight in weights]
    total = sum(weight.numel() for weight in weights)
    return weights, draw(st.integers(sum(floors), total)), floors


@settings(deadline=None, max_examples=300)
@given(cases())
def test_it_is_one_stable_sort_of_everything(case: Case) -> None:
    check(*case)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_tensor_operations_do_as_the_compiled_passes(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_compiled", lambda piece: False)
        patch.setattr(selection, "_PIECE", 7)
        check(*case)


@pytest.mark.parametrize("dtype", selection.DTYPES)
def test_many_pieces_on_many_threads(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_PIECE", 1000)
    generator = torch.Generator().manual_seed(0)
    sizes = [(123, 457), (64, 3, 3, 3), (5000,)]
    weights = [torch.randn(size, generator=generator).mul_(0.02).to(dtype) for size in sizes]
    total = sum(weight.numel() for weight in weights)
    check(weights, total // 10, [0, 900, 0])


def test_smallest_and_largest_numbers() -> None:
    for dtype in selection.DTYPES:
        info = torch.finfo(dtype)
        tiny = float(torch.tensor(info.tiny, dtype=dtype) / 4)  # below the normal numbers
        values = [info.max, -info.max, 0.0, -0.0, tiny, -2 * tiny, 1.0]
        for keep in range(len(values) + 1):
            check([torch.tensor(values, dtype=dtype)], keep, [0])


def test_channels_last_is_taken_row_by_row() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = torch.randint(-2, 3, (4, 3, 3, 3), generator=generator).float()
    other = plain.clone(memory_format=torch.channels_last)
    assert not other.is_contiguous()
    for weight in (plain, other):
        (cut,) = selection.select([weight], 40, [0])
        selection.zero_below(weight, cut)
    assert torch.equal(plain, other)


class Largest(TorchDispatchMode):
    """Records the largest tensor that any operation makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor) and each.untyped_storage().data_ptr() not in given:
                self.bytes = max(self.bytes, each.untyped_storage().nbytes())
        return out


def test_no_copy_of_the_weights_is_made() -> None:
    weights = [torch.randn(1 << 21, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    with Largest() as largest:
        for weight, cut in zip(weights, selection.select(weights, 1 << 20, [0, 0]), strict=True):
            selection.zero_below(weight, cut)
    assert largest.bytes == 0
    with Largest() as largest:  # that the recorder does record
        weights[0].abs()
    assert largest.bytes == 4 << 21


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_runs_in_a_fork() -> None:
    weight = torch.arange(1.0, 4_000_001.0)
    selection.select([weight], 10, [0])
    child = os.fork()
    if not child:
        signal.alarm(30)
        (cut,) = selection.select([weight], 10, [0])
        selection.zero_below(weight, cut)
        # In NumPy: torch's own threads do not survive a fork.
        os._exit(0 if np.count_nonzero(weight.numpy()) == 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
