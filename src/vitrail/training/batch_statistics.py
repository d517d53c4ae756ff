"""What a model learns besides its parameters: running statistics of batches, which forward passes change by themselves.

A BatchNorm computes with the statistics of its batch, so every image of a batch has a say in what is learned of the
others, and it writes its running statistics before anyone knows whether the update will stand.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitrail.contracts import Batch, Mixing


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether what is computed of an image in training depends on the others in its batch; a frozen BatchNorm does not
    make it so."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return any(not norm.affine or any(p.requires_grad for p in norm.parameters()) for norm in norms)


class Statistics:
    """The buffers of a model that are learned (kept in files), and a copy of them from before the update."""

    def __init__(self, model: nn.Module) -> None:
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        kept = model.state_dict(keep_vars=True)
        self.buffers: list[Tensor] = [tensor for name, tensor in kept.items() if name not in parameters]
        self.copies = [torch.empty_like(buffer) for buffer in self.buffers]
        self.fractions = [buffer for buffer in self.buffers if buffer.is_floating_point()]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the buffers as they are."""
        for copy, buffer in zip(self.copies, self.buffers, strict=True):
            copy.copy_(buffer)

    def finite(self) -> Tensor:
        """() bool on the device: whether all fractions are. A variance can overflow while the loss stays finite."""
        largest = torch.nn.utils.get_total_norm(self.fractions, norm_type=torch.inf)
        return largest.isfinite()

    @torch.no_grad()
    def back(self, refused: Tensor) -> None:
        """As they were when kept, where `refused` (() bool, on the device) is true; the host need not know."""
        for copy, buffer in zip(self.copies, self.buffers, strict=True):
            buffer.copy_(torch.where(refused, copy, buffer))


def without_failures(batch: Batch) -> Batch:
    """The batch without samples that failed, whose images are zeros and must not enter its statistics.

    A sample that was to be mixed with a failed one has kept all of itself. One good sample alone is given twice, the
    second time without weight, since a single value has no variance.
    """
    good = batch.weights > 0
    if good.cpu().numpy().all():  # weights are on the host until the batch is moved: this waits for no device
        return batch
    rows = good.nonzero()[:, 0]
    weights = batch.weights[rows]
    if len(rows) == 1:
        rows, weights = rows.repeat(2), torch.cat([weights, torch.zeros_like(weights)])
    places = torch.arange(len(rows))
    mixing = None
    if batch.mixing is not None:
        partners, share = batch.mixing.partners[rows], batch.mixing.share[rows]
        moved = (good.cumsum(0) - 1)[partners]
        mixing = Mixing(torch.where(good[partners], moved, places), share)
    return replace(
        batch,
        images=batch.images[rows],
        targets=batch.targets[rows],
        weights=weights,
        positions=batch.positions[rows],
        indices=batch.indices[rows],
        keys=tuple(batch.keys[row] for row in rows.tolist()),
        mixing=mixing,
    )
