"""Two linear layers for a model that was taught by another: one on [CLS], one on the distillation token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.contracts import Backbone, Features


class DistilledHead(nn.Module):
    """Features -> (B, Y), the mean of what both layers say, in training and in evaluation.

    The backbone's prefix has a "cls" and a "dist" token. DeiT (arXiv 2012.12877), section 4, where `fc` learns from the
    labels and `fc_dist` from the teacher; the paper's code takes the mean of the logits.
    """

    def __init__(self, backbone: Backbone, outputs: int) -> None:
        super().__init__()
        self.cls = backbone.prefix_names.index("cls")
        self.dist = backbone.prefix_names.index("dist")
        self.fc = nn.Linear(backbone.width, outputs)
        self.fc_dist = nn.Linear(backbone.width, outputs)

    def forward(self, features: Features) -> Tensor:
        by_labels, by_teacher = self.both(features)
        return (by_labels + by_teacher) / 2

    def both(self, features: Features) -> tuple[Tensor, Tensor]:
        """What each layer says by itself, that on [CLS] first: (B, Y) each."""
        by_labels: Tensor = self.fc(features.prefix[:, self.cls])
        by_teacher: Tensor = self.fc_dist(features.prefix[:, self.dist])
        return by_labels, by_teacher

    def last(self) -> Sequence[nn.Module]:
        """The layers with a row per output."""
        return (self.fc, self.fc_dist)
