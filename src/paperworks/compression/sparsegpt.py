"""SparseGPT: prune a layer column by column, the weights further on making up for what goes.

E. Frantar, D. Alistarh, "SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
arXiv:2301.00774, algorithm 1 with the adaptive masks of its section 3.2 and the N:M of section 3.3.

What departs from the published code: counts are exact (its threshold drops one weight a block too
many, and all that tie); rounding the count of each block is carried over, so that the layer's
total is right; the groups of a grouped convolution are each solved with their own Hessian; N:M of
a convolution takes its groups among the channels, as sparse kernels do.

It is here since no kept library does it beside the versions of torch and transformers in use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paperworks.compression.hessian import inverse_cholesky
from paperworks.compression.layers import SKIP, group_count, weight_matrix
from paperworks.compression.masks import lowest_mask, n_m_mask
from paperworks.compression.observers import InputHessian
from paperworks.compression.pruning import Pruner


class SparseGPT(Pruner):
    """Prunes by the error that a dropped weight leaves once the others have made up for it.

    Minimises ``norm(inputs @ (weight - pruned).T)`` greedily. Columns are gone through in order;
    a dropped weight is made up for by the weights of its row that come later (optimal brain
    surgeon with the earlier ones held fixed). Which weights go is chosen a block of columns at a
    time, by ``(weight / U[j, j])**2`` over all rows, ``U`` the factor of
    :func:`paperworks.compression.hessian.inverse_cholesky`.

    Parameters
    ----------
    sparsity : float in [0, 1), optional
        The part of each layer's weights that is dropped, 0.5 by default.
    pattern : str, optional
        ``"n:m"``, in place of ``sparsity``.
    block : int
        Columns of a block: both the choice of the mask and the lazy update of the rest work by
        blocks. 128 as in the paper.
    damping : float
        Part of the mean of the Hessian's diagonal that is added to it; 0.01 as in the paper.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        As for :class:`paperworks.compression.pruning.Pruner`; for a block smaller than m; where a
        layer's Hessian is singular at this damping.

    Notes
    -----
    O(rows * fan_in**2) for the Hessian of each layer, O(fan_in**3 + out * fan_in**2) to prune it;
    memory for the Hessians of one block's layers.

    Examples
    --------
    Two equal inputs: the weight that stays takes over from the one that goes, nearly all of it.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 2)
    >>> [round(w, 2) for w in SparseGPT(0.5, damping=1e-4)(model, [x]).weight[0].tolist()]
    [0.0, 3.0]
    """

    def __init__(
        self,
        sparsity: float | None = None,
        *,
        pattern: str | None = None,
        block: int = 128,
        damping: float = 0.01,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(sparsity, pattern=pattern, skip=skip)
        if block < self.m:
            raise ValueError(f"block must be at least {self.m} columns, got {block}")
        if not damping >= 0:
            raise ValueError(f"damping must be >= 0, got {damping}")
        self.block, self.damping = block - block % self.m, damping

    def observer(self, name: str, layer: nn.Module) -> InputHessian:
        """The Hessian of one layer."""
        return InputHessian()

    def compress_layer(self, name: str, layer: nn.Module, seen: InputHessian) -> nn.Module:
        """Prune one layer and change the weights that stay."""
        weight = weight_matrix(layer)
        order = self._order(layer)
        hessian = seen.matrix[:, order][:, :, order]
        upper = inverse_cholesky(hessian, self.damping, name=name)
        upper = upper.to(torch.promote_types(weight.dtype, torch.float32))
        # Columns in front: each is a stretch of memory.
        columns = weight[:, order].to(upper.dtype)
        columns = columns.unflatten(0, (group_count(layer), -1)).mT.contiguous()
        # Inputs that are always zero: their weights are the first to go.
        columns[hessian.diagonal(dim1=1, dim2=2) == 0] = 0
        self._prune(columns, upper)
        weight.copy_(columns.mT.flatten(0, 1)[:, order.argsort()])
        return layer

    def _order(self, layer: nn.Module) -> Tensor:
        """The columns in the order of work; for n:m a kernel's places one after the other."""
        weight: Tensor = layer.weight  # type: ignore[assignment]
        columns = torch.arange(weight[0].numel(), device=weight.device)
        if self.pattern is None:
            return columns
        return columns.view(weight.shape[1], -1).T.flatten()

    def _prune(self, weight: Tensor, upper: Tensor) -> None:
        """Prune ``weight``, (groups, fan_in, rows), in place; ``upper`` is the factor of each."""
        diagonal = upper.diagonal(dim1=1, dim2=2)[..., None]
        size = weight[:, 0].numel()
        done = 0
        for start in range(0, weight.shape[1], self.block):
            end = min(start + self.block, weight.shape[1])
            part, scale = weight[:, start:end], diagonal[:, start:end]
            errors = torch.zeros_like(part)
            stay = torch.ones_like(part, dtype=torch.bool)
            if self.pattern is None:
                # So many in this block that the total so far is right.
                drop = round(self.sparsity * size * end) - done
                done += drop
                stay = lowest_mask((part / scale).square(), drop / part.numel())
            for j in range(end - start):
                if self.pattern is not None and j % self.m == 0:
                    group = slice(j, j + self.m)
                    scores = (part[:, group] / scale[:, group]).square()
                    stay[:, group] = n_m_mask(scores.mT, self.n, self.m).mT
                error = errors[:, j]
                torch.div(part[:, j].masked_fill(stay[:, j], 0), scale[:, j], out=error)
                factors = upper[:, start + j, start + j : end, None]
                part[:, j:].addcmul_(factors, error[:, None], value=-1)
            part.masked_fill_(~stay, 0)  # they are zero but for rounding
            weight[:, end:] -= upper[:, start:end, end:].mT @ errors
