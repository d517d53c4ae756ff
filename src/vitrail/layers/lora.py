"""Low-rank updates of linear layers (LoRA, Hu et al. 2022, arXiv 2106.09685): weights stay, a small difference learns.

    y = W x + b + (alpha / r) B A x        A (r, inputs), B (outputs, r)

B begins at zero, so that the model begins as it was. Folded into W the difference costs nothing to use.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.contracts import Backbone
from vitrail.errors import UsageError
from vitrail.layers.foreign import look
from vitrail.layers.initialise import Draw, constant, draw_value, fan_in_uniform


class LoRALinear(nn.Linear):
    """A linear layer with a learned difference of rank r: (..., inputs) -> (..., outputs).

    The layer's own weight and bias are taken over, with their names, and held fixed.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(linear.weight.new_empty(linear.out_features, rank))
        self.scale = alpha / rank
        self.requires_grad_(False)
        self.lora_a.requires_grad_()
        self.lora_b.requires_grad_()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def folded(self) -> nn.Linear:
        """A plain layer that answers the same: its weight is W + (alpha / r) B A. The bias is shared."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        with torch.no_grad():
            plain.weight = nn.Parameter(self.weight + self.scale * (self.lora_b @ self.lora_a))
        plain.bias = self.bias
        return plain

    def initialisers(self) -> Mapping[str, Draw]:
        """Of the difference: A as He's uniform with gain sqrt(1/3), which is +-1/sqrt(inputs), and B zero."""
        return {"lora_a": fan_in_uniform(self.in_features), "lora_b": constant(0.0)}


def adapt(backbone: Backbone, rank: int, alpha: float, seed: int, prefix: str = "backbone.") -> None:
    """Hold the whole backbone fixed and give each linear layer of its blocks a difference that learns.

    Linear layers that only make positions (`undecayed()`) are left out, and so are subclasses of nn.Linear, which may
    compute otherwise. First values depend on the seed and the parameter's full name, which begins with `prefix`; on
    the meta device there are none. Raises UsageError where the blocks have no linear layer, as a ResNet's, or use one's
    weight without calling it.
    """
    whole = cast(nn.Module, backbone).requires_grad_(False)
    positions = {id(parameter) for parameter in backbone.undecayed()}
    places = {id(module): path for path, module in whole.named_modules()}
    adapted = False
    for block in backbone.blocks():
        for path, linear in list(block.named_modules()):
            if type(linear) is not nn.Linear or id(linear.weight) in positions or not path:
                continue
            adapter, adapted = LoRALinear(linear, rank, alpha), True
            for name, draw in adapter.initialisers().items():
                full = f"{prefix}{places[id(block)]}.{path}.{name}"
                draw_value(adapter.get_parameter(name), draw, seed, full)
            block.set_submodule(path, adapter.train(linear.training))
    if not adapted:
        raise UsageError("train.lora_rank: this model's blocks have no linear layers, as LoRA needs: set it to 0")
    _refuse_bypassed(backbone)


def _refuse_bypassed(backbone: Backbone) -> None:
    seen = look(cast(nn.Module, backbone), lambda twin: _tokens(twin, backbone))
    idle = [name.rpartition(".")[0] for name in seen.idle if name.endswith(".lora_b")]
    if idle:
        raise UsageError(
            f"train.lora_rank: this model uses the weight of {idle[0]} without calling that layer, and LoRA would not"
            " be seen: set it to 0"
        )


def _tokens(twin: nn.Module, backbone: Backbone) -> Tensor:
    """What the backbone answers: every token, those in front of the patches included, (B, K + N, D)."""
    features = twin(torch.zeros(1, backbone.in_channels, *backbone.image_size))
    return torch.cat([features.prefix, features.tokens], dim=1)


def merged(model: nn.Module) -> nn.Module:
    """The model with every difference folded into its weight, on the CPU; itself where there is none.

    What is not folded shares its memory with the model where that is on the CPU: it is to be written, not trained.
    """
    adapters = {path: module for path, module in model.named_modules() if isinstance(module, LoRALinear)}
    if not adapters:
        return model
    memo: dict[int, object] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        here = tensor.detach().cpu()
        memo[id(tensor)] = nn.Parameter(here, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else here
    plain = copy.deepcopy(model, memo)
    for path in adapters:
        plain.set_submodule(path, cast(LoRALinear, plain.get_submodule(path)).folded())
    return plain
