"""Which layer each parameter belongs to: fine-tuning lets the lower ones, which know most already, learn more slowly.

BEiT (arXiv 2106.08254) and MAE (arXiv 2111.06377): layer l of L + 2 learns at rate * decay^(L + 1 - l). Layers are read
from the backbone's contract, for any family; no name of a parameter is.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from vitrail.contracts import Backbone


def layers(model: nn.Module) -> list[list[nn.Parameter]]:
    """Every parameter of `model` in just one of L + 2 layers, L being the blocks of the backbone inside it.

    0: the stem, tokens and positions.  i + 1: block i; what makes a stage's tokens (`Stage.merge`) is of its first
    block's layer.  L + 1: what follows the blocks, the head, and whatever stands beside the backbone.
    """
    backbone = next((module for module in model.modules() if isinstance(module, Backbone)), None)
    assert backbone is not None, "a model that is trained has a backbone"
    blocks = list(backbone.blocks())
    found: dict[int, int] = {}

    def place(parameters: Iterable[nn.Parameter], layer: int) -> None:
        for parameter in parameters:
            found.setdefault(id(parameter), layer)

    for number, block in enumerate(blocks):
        place(block.parameters(), number + 1)
    first = 0
    for stage in backbone.stages():
        if stage.merge is not None:  # before `undecayed`, which names the positions of all stages
            place(stage.merge.parameters(), first + 1 if first else 0)
        first += len(stage.blocks)
    place(backbone.stem().parameters(), 0)
    place(backbone.undecayed(), 0)
    sorted_in: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    for parameter in model.parameters():
        sorted_in[found.get(id(parameter), len(blocks) + 1)].append(parameter)
    return sorted_in
