"""What becomes of an image before the model sees it, in sentences."""

from __future__ import annotations

from vitrail.settings import Config


def evaluated(config: Config) -> str:
    """When nothing is random: in validation, test, prediction."""
    side, how = config.model.image_size, config.preprocess
    size = f"{side} x {side} pixels"
    if how.resize == "tile":
        return (
            "When it is evaluated and in use, an image keeps every pixel: the model goes over it in windows of "
            f"{size}, each of which shares a quarter of its side or more with its neighbour, and blends what it says "
            "where they overlap. A smaller image is padded with the mean colour."
        )
    if how.resize == "letterbox":
        return (
            f"When it is evaluated and in use, the whole image is fitted into {size} with its proportions kept, and "
            "what is left over is filled with the mean colour (letterboxed)."
        )
    if how.resize == "squash":
        return f"When it is evaluated and in use, the whole image is stretched to {size}, whatever its proportions."
    if how.crop_fraction < 1:
        cut = f"until its shorter side is {round(side / how.crop_fraction)} pixels, and {size} are cut from its centre"
    else:
        cut = f"until its shorter side is {side} pixels, and {size} are cut from its centre"
    return f"When it is evaluated and in use, an image is scaled {cut}; what lies outside is not seen."


def trained(config: Config, dense: bool) -> str:
    """What is random in training."""
    augment = config.augment
    parts = [_cut(config, dense)]
    if augment.flip:
        parts.append("mirrored every other time")
    if augment.randaugment_ops and not dense:
        changes = "change" if augment.randaugment_ops == 1 else "changes"
        parts.append(f"with {augment.randaugment_ops} random {changes} of colour or shape (RandAugment)")
    if augment.three and not dense:
        parts.append("grey, with bright parts inverted, or blurred (ThreeAugment)")
    if augment.jitter:
        parts.append(f"with brightness, contrast and saturation changed by up to {100 * augment.jitter:.0f}%")
    if augment.erase and not dense:
        parts.append(f"with a part erased in {100 * augment.erase:.0f}% of the cases")
    mixed = [name for name, on in (("mixup", augment.mixup), ("CutMix", augment.cutmix)) if on and not dense]
    if mixed:
        last = f", but for the last {augment.mix_off_epochs:g} epochs" if augment.mix_off_epochs else ""
        parts.append(f"and mixed with another training image ({' or '.join(mixed)}{last})")
    copies = f" Each is seen {augment.repeats} times in a row, varied anew." if augment.repeats > 1 else ""
    both = " The target goes through the same geometry." if dense else ""
    return f"In training it is {', '.join(parts)}.{copies}{both}"


def _cut(config: Config, dense: bool) -> str:
    low, high = config.augment.crop_scale
    if dense and config.preprocess.resize == "tile":
        return "one window anywhere in it, shown at three quarters to four thirds of its own size"
    if (low, high) == (1, 1):
        return "the same"
    side = config.model.image_size
    return (
        f"a random part, {100 * low:.0f} to {100 * high:.0f}% of the image's area, stretched to {side} x {side} pixels"
    )
