"""From a run's complete config to what is pretrained."""

from __future__ import annotations

from typing import cast

from vitrail.assemble import build_trunk
from vitrail.contracts import Backbone
from vitrail.errors import UsageError
from vitrail.layers.initialise import initialise
from vitrail.layers.recompute import recompute
from vitrail.pretraining.autoencoder import MaskedAutoencoder, SeesSome
from vitrail.pretraining.inpainting import Inpainter
from vitrail.pretraining.masks import Masking, masking_of
from vitrail.pretraining.reconstruction import Reconstructor
from vitrail.settings import Config
from vitrail.training.batch_statistics import has_batch_statistics


def make_reconstructor(config: Config) -> tuple[Reconstructor, Masking]:
    """The model with its first values, the backbone's as in `vitrail train`, and the masking that it is made for.

    Raises UsageError for batches too small for a model that learns from their statistics.
    """
    backbone = cast(Backbone, build_trunk(config)["backbone"])
    masking, own = masking_of(backbone, config), config.pretrain
    model: Reconstructor
    if isinstance(backbone, SeesSome):
        assert own.decoder_width is not None, "the recipe picks it for a backbone that leaves patches out"
        assert own.decoder_depth is not None, "as this"
        model = MaskedAutoencoder(backbone, masking, own.decoder_width, own.decoder_depth)
    else:
        model = Inpainter(backbone)
    initialise(model, config.seed)
    if has_batch_statistics(model) and config.train.batch_size // config.train.accumulate < 2:
        raise UsageError(
            f"{config.model.name} learns from the statistics of a batch (BatchNorm), and batches of"
            f" {config.train.batch_size} in {config.train.accumulate} micro-steps leave one image alone: raise"
            " --batch-size"
        )
    if config.train.recompute:
        recompute(backbone.blocks())
    return model, masking
