from __future__ import annotations

import pytest
import torch

from paperworks.compression.observers import InputHessian, InputNorms, InputRange, InputSample


@pytest.fixture
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, rows, 5, generator=generator) for rows in (3, 1, 8)]


def test_norms_are_root_mean_squares(batches: list[torch.Tensor]) -> None:
    seen = InputNorms()
    for batch in batches:
        seen.update(batch)
    everything = torch.cat(batches, 1)
    torch.testing.assert_close(seen.norms, everything.square().mean(1).sqrt())


def test_the_range_is_the_largest_magnitude(batches: list[torch.Tensor]) -> None:
    seen = InputRange()
    for batch in batches:
        seen.update(batch)
    assert torch.equal(seen.largest, torch.cat(batches, 1).abs().amax(1))


def test_the_hessian_is_the_mean_outer_product(batches: list[torch.Tensor]) -> None:
    seen = InputHessian()
    for batch in batches:
        seen.update(batch)
    everything = torch.cat(batches, 1)
    expected = torch.einsum("gri,grj->gij", everything, everything) / 12
    torch.testing.assert_close(seen.matrix, expected)


def test_the_sample_is_uniform_and_repeatable() -> None:
    counts = torch.zeros(20)
    for seed in range(600):
        seen = InputSample(4, seed)
        rows = torch.arange(20.0)[None, :, None]
        for first, last in ((0, 3), (3, 12), (12, 20)):
            seen.update(rows[:, first:last])
        drawn = seen.sample[0, :, 0].long()
        assert drawn.unique().numel() == 4
        assert torch.equal(drawn.sort().values, drawn)
        counts[drawn] += 1
    # Each is drawn 120 times on average with a standard deviation of 9.8.
    assert (counts - 120).abs().max() < 5 * 9.8
    again = InputSample(4, 599)
    again.update(rows[:, :3])
    again.update(rows[:, 3:12])
    again.update(rows[:, 12:])
    assert torch.equal(again.sample[0, :, 0].long(), drawn)


def test_a_short_input_is_kept_whole() -> None:
    seen = InputSample(10)
    seen.update(torch.ones(3, 2, 4))
    assert seen.sample.shape == (3, 2, 4)
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        InputSample(0)
