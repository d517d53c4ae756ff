"""One call of attention on the grid of its stage, read row by row.

The whole matrix of a call grows with the square of the cells: 56 x 56 cells are 10 million pairs, nearly all of them in
different windows. Rows are followed instead, from who is asked to what it looked at, a few queries at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.contracts import CellMap
from vitrail.explain.recorder import Call
from vitrail.layers.attention import AttentionLayout

AT_ONCE = 1 << 21
"""Weights that are formed at once: 8 MiB of float32, which stay in a processor's cache while they are gone over."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What one call attended to.

    layout: of its tokens on the grid of its stage.  stage: its number.  gradient (B, W * A, T_q, d): d score / d answer
    of the attention, where a score was given. K_q and K_k tokens that stand nowhere come first among queries and keys.
    """

    call: Call
    layout: AttentionLayout
    stage: int
    gradient: Tensor | None = None

    @property
    def heads(self) -> int:
        """A."""
        return self.call.q.shape[1] // self.layout.windows

    def matrix(self) -> Tensor:
        """(B, A, K_q + h * w, K_k + h * w): who looked at whom, cell by cell. Rows sum to 1."""
        return self.layout.matrix(self.call.weights)

    def gaze(self, rows: Tensor) -> Tensor:
        """What is looked at by those who are asked: shares (B, K_q + h * w) -> (B, A, K_k + h * w), of each head.

        The row vector times the matrix. A sum of 1 stays one.
        """
        return self._times(rows, lambda weights, gradient: weights)

    def influence(self, rows: Tensor, positive: bool) -> Tensor:
        """The same of attention times the score's gradient at it: what it does for the score, to first order.

        positive: what is below zero counts as zero, each head's by itself.
        """
        assert self.gradient is not None, "whoever asks for influence has said of what score"

        def weigh(weights: Tensor, gradient: Tensor) -> Tensor:
            weights.mul_(gradient)  # both are of this moment alone
            return weights.clamp_(min=0) if positive else weights

        return self._times(rows, weigh)

    def queries(self) -> Iterator[tuple[Tensor, Tensor]]:
        """A few queries at a time: their places (Q,) and weights (B, W, A, Q, T_k)."""
        places = torch.arange(self.call.q.shape[2], device=self.call.q.device)
        for some in torch.split(places, self._at_once()):
            yield some, self._apart(self.call.rows(some))

    def _times(self, rows: Tensor, weigh: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        asked = self._to_tokens(rows)  # (B, W, T_q)
        needed = asked.flatten(0, 1).any(dim=0).nonzero()[:, 0]
        q, k = self.call.q, self.call.k
        seen = q.new_zeros(len(q), self.layout.windows, self.heads, 1, k.shape[2])  # (B, W, A, 1, T_k)
        for some in torch.split(needed, self._at_once()):
            weights = self.call.rows(some)  # (B, W * A, Q, T_k)
            if self.gradient is not None:  # Y = A V, and so d score / dA = (d score / dY) V^T
                weights = weigh(weights, self.gradient[:, :, some] @ self.call.v.transpose(-2, -1))
            seen += asked[:, :, None, None, some] @ self._apart(weights)  # einsum would copy the weights to turn them
        return self._to_cells(seen[..., 0, :])

    def _at_once(self) -> int:
        q, k = self.call.q, self.call.k
        return max(1, AT_ONCE // (q.shape[0] * q.shape[1] * k.shape[2]))

    def _apart(self, weights: Tensor) -> Tensor:
        """(B, W * A, Q, T_k) -> (B, W, A, Q, T_k)."""
        return weights.reshape(len(weights), self.layout.windows, self.heads, *weights.shape[2:])

    def _to_tokens(self, rows: Tensor) -> Tensor:
        """Shares of queries by cell (B, K_q + h * w) -> by token of each window, (B, W, T_q)."""
        prefix, windows = self.layout.prefix_queries, self.layout.windows
        first = rows[:, None, :prefix].expand(-1, windows, -1)  # (B, W, K_q)
        rest = rows[:, prefix:]
        if self.layout.queries is None:
            return torch.cat([first, rest[:, None].expand(-1, windows, -1)], dim=-1)
        cells, shares = _on(self.layout.queries, rows)
        padded = torch.nn.functional.pad(rest, (0, 1))  # a cell of nothing, for tokens that stand on fewer than others
        return torch.cat([first, (padded[:, cells] * shares).sum(dim=-1)], dim=-1)

    def _to_cells(self, seen: Tensor) -> Tensor:
        """Shares of keys by token (B, W, A, T_k) -> by cell, (B, A, K_k + h * w)."""
        prefix = self.layout.prefix_keys
        rest = seen[..., prefix:]
        laid = rest.sum(dim=1) if self.layout.keys is None else lay(self.layout.keys, rest.movedim(1, 2))
        return torch.cat([seen[..., :prefix].sum(dim=1), laid], dim=-1)


def lay(tokens: CellMap, values: Tensor) -> Tensor:
    """Values of tokens (B, ..., W, T), shared out among the cells that they stand for: (B, ..., h * w)."""
    places = tokens.grid[0] * tokens.grid[1]
    cells, shares = _on(tokens, values)  # (W, T, M)
    spread = (values[..., None] * shares).flatten(-3)  # (B, ..., W T M)
    laid = values.new_zeros(*values.shape[:-2], places + 1)
    return laid.index_add(-1, cells.flatten(), spread)[..., :-1]


def _on(tokens: CellMap, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cells (W, T, M), with h * w for none, and shares, on the device of another tensor."""
    cells = tokens.cells.to(like.device) % (tokens.grid[0] * tokens.grid[1] + 1)
    return cells, tokens.shares.to(like)
