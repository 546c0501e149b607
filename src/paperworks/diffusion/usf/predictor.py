"""The learned predictor of a search: which of two schedules will turn out better.

As in the paper, every step of a schedule is embedded, a recurrent network reads the steps in their
order, and what it says is trained to rank: a hinge loss on pairs. It needs no more than the order
of the scores, whose size may span decades.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

RATE = 3e-3
"""Of learning."""


class RankPredictor(nn.Module):
    """A network that says how schedules compare: lower is better.

    Parameters
    ----------
    features : int
        Of every step.
    generator : torch.Generator
        For the weights that it begins with.
    width : int
        Of the embedding and of the recurrent state.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.rand(30, 5, 3, generator=generator)
    >>> predictor = RankPredictor(3, generator)
    >>> predictor.fit(x, x[:, :, 0].sum(1))
    >>> bool(predictor(torch.ones(1, 5, 3)) > predictor(torch.zeros(1, 5, 3)))
    True
    """

    def __init__(self, features: int, generator: torch.Generator, *, width: int = 32):
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # torch's own start, drawn over below
            self.embed = nn.Linear(features, width)
            self.read = nn.GRU(width, width, batch_first=True)
            self.judge = nn.Linear(width, 1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.uniform_(-(width**-0.5), width**-0.5, generator=generator)
        self._moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in self.parameters()]
        self._updates = 0

    def forward(self, x: Tensor) -> Tensor:
        """(schedules, steps, features) float32 to (schedules,)."""
        states, _ = self.read(torch.relu(self.embed(x)))
        return self.judge(states[:, -1])[:, 0]

    def fit(self, x: Tensor, scores: Tensor, *, epochs: int = 40) -> None:
        """Go on learning from all that is known: a loss on every pair of schedules.

        Parameters
        ----------
        x : (schedules, steps, features) float32
        scores : (schedules,)
            Infinity is allowed.

        Notes
        -----
        O(epochs * schedules * (steps + schedules)).
        """
        better = (scores[:, None] < scores).to(x.dtype)
        pairs = better.sum().clamp(min=1)
        for _ in range(epochs):
            found = self(x)
            loss = (better * torch.relu(1 + found[:, None] - found)).sum() / pairs
            self._update(torch.autograd.grad(loss, list(self.parameters())))

    @torch.no_grad()
    def _update(self, slopes: Sequence[Tensor]) -> None:
        """A step of Adam. That of torch.optim loads torch's compiler first, for a second or two in
        every process that searches.
        """
        self._updates += 1
        for weight, slope, (mean, square) in zip(
            self.parameters(), slopes, self._moments, strict=True
        ):
            mean.lerp_(slope, 0.1)
            square.lerp_(slope * slope, 0.001)
            size = (square / (1 - 0.999**self._updates)).sqrt_() + 1e-8
            weight.addcdiv_(mean, size, value=-RATE / (1 - 0.9**self._updates))
