"""What fills in hidden pixels, against small implementations of the papers' words, and on a pattern it can solve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.layers.position import sincos_2d
from vitrail.models import create_backbone, variant
from vitrail.pretraining.autoencoder import MaskedAutoencoder
from vitrail.pretraining.build import make_reconstructor
from vitrail.pretraining.inpainting import Inpainter
from vitrail.pretraining.masks import Masking
from vitrail.pretraining.recipe import choose, refuse_useless
from vitrail.pretraining.reconstruction import Guessing, Reconstructor
from vitrail.settings import build
from vitrail.training.choices.facts import Facts

SMALL = {"width": 24, "depth": 2, "heads": 2, "hidden": 48}
THIN_SWIN: dict[str, Any] = {"depths": (1, 1, 1, 1), "width": 12, "heads": (1, 1, 1, 1)}
FACTS = Facts(images=1000, classes=0, native_size=16, flip=True)


def config(name: str = "vit_tiny", size: int = 16, **stated: Any) -> Any:
    own = {f"model.options.{key}": value for key, value in SMALL.items()} if name.startswith(("vit", "deit")) else {}
    fields = {"data.source": "memory", "model.name": name, "model.image_size": size, **own, **stated}
    return choose(FACTS, variant(name), fields).config


def made(name: str = "vit_tiny", size: int = 16, **stated: Any) -> tuple[Reconstructor, Masking]:
    return make_reconstructor(config(name, size, **stated))


def masked(masking: Masking, batch: int = 3, seed: int = 0) -> Tensor:
    """(B, 4, H, W): noise, and masks behind it."""
    images = torch.randn(batch, 3, *masking.size, generator=torch.Generator().manual_seed(seed))
    return torch.cat([images, torch.stack([masking.draw(seed, i) for i in range(batch)])], dim=1)


# ---------------------------------------------------------------------------------------------------------------- MAE


@torch.no_grad()
def test_a_masked_autoencoder_is_that_of_the_paper() -> None:
    """Patch by patch: encode the visible, put mask tokens in between, decode, and compare normalised pixels."""
    model, masking = made(**{"model.patch_size": 4, "model.options.registers": 2})
    assert isinstance(model, MaskedAutoencoder)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    inputs, vit = masked(masking), model.backbone
    losses = []
    for image, mask in zip(inputs[:, :3], inputs[:, 3], strict=True):
        patches = [image[:, r : r + 4, c : c + 4] for r in range(0, 16, 4) for c in range(0, 16, 4)]
        hidden = [bool(mask[r, c]) for r in range(0, 16, 4) for c in range(0, 16, 4)]
        assert sum(hidden) == 12
        kernel = vit.patch_embed.proj
        tokens = [vit.cls_token[0] + vit.pos_embed[:, 0], vit.registers[0]]
        for n, patch in enumerate(patches):
            if not hidden[n]:
                tokens.append((kernel.weight * patch).sum((1, 2, 3)) + kernel.bias + vit.pos_embed[0, n + 1])
        x = torch.cat([token.reshape(-1, 24) for token in tokens])[None]
        for block in vit.encoder:
            x = block(x)
        x = model.bridge(vit.norm(x))[0]
        places, rest = sincos_2d((4, 4), x.shape[1]), iter(x[3:])
        full = [(model.mask_token[0, 0] if hidden[n] else next(rest)) + places[n] for n in range(16)]
        y = torch.cat([x[:3], torch.stack(full)])[None]
        for block in model.decoder:
            y = block(y)
        said = model.pixels(model.norm(y))[0, 3:]
        off = []
        for n, patch in enumerate(patches):
            if hidden[n]:
                pixels = patch.permute(1, 2, 0).flatten()  # rows, columns, channels
                wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
                off.append((said[n] - wanted).square().mean())
        losses.append(torch.stack(off).mean())
    torch.testing.assert_close(model(inputs)[:, 0], torch.stack(losses), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("vit_tiny", {}),
        ("vit_tiny", {"model.options.stem": "conv"}),
        ("vit_tiny", {"model.options.stem": "shifted", "model.options.locality": True}),
        ("deit_tiny_distilled", {}),
        ("swin_tiny", {f"model.options.{k}": v for k, v in THIN_SWIN.items()}),
        ("resnet18", {"model.options.width": 4}),
    ],
    ids=str,
)  # fmt: skip
def test_hidden_pixels_are_not_looked_at_and_visible_ones_are(name: str, stated: dict[str, Any]) -> None:
    model, masking = made(name, 16 if "_tiny" in name and "swin" not in name else 32, **stated)
    model.eval()
    inputs = masked(masking, batch=2)
    pixels, hidden = inputs[:, :3], inputs[:, 3:]
    first = model.predict(pixels, hidden)
    assert torch.equal(first, model.predict(torch.where(hidden > 0, torch.full_like(pixels, 9.0), pixels), hidden))
    assert not torch.equal(first, model.predict(torch.where(hidden > 0, pixels, pixels + 1), hidden))


def test_the_encoder_sees_a_quarter_of_the_patches() -> None:
    model, masking = made(size=32, **{"model.patch_size": 4})
    seen = []
    model.backbone.encoder[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    model(masked(masking))
    assert seen == [(3, 1 + 16, 24)]  # [CLS] and 16 of 64


def test_every_parameter_learns_but_what_no_loss_needs() -> None:
    for name, stated in (("vit_tiny", {}), ("pvt_v2_b0", {"model.options.depths": (1, 1, 1, 1)})):
        model, masking = made(name, 32, **stated)
        model.train()
        model(masked(masking)).sum().backward()
        silent = [name for name, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
        assert silent == []


# ------------------------------------------------------------------------------------------------------------- SimMIM


@torch.no_grad()
def test_an_inpainter_is_that_of_the_paper_with_painted_pixels() -> None:
    """A linear layer on each cell of the last map gives its pixels; the loss is L1 where they were hidden."""
    stated = {
        "model.options.depths": (1, 1, 1, 1),
        "model.options.widths": (8, 8, 8, 8),
        "model.options.heads": (1, 1, 1, 1),
    }
    model, masking = made("pvt_v2_b0", 40, **stated)  # 40 px at stride 8: 5 cells a side
    assert isinstance(model, Inpainter)
    model.eval()
    inputs = masked(masking)
    pixels, hidden = inputs[:, :3], inputs[:, 3:]
    features = model.backbone(pixels * (1 - hidden))
    stride, (h, w) = model.stride, features.grid
    cells = model.pixels(features.tokens)
    losses = []
    for b in range(3):
        total, count = 0.0, 0
        for y in range(40):
            for x in range(40):
                if hidden[b, 0, y, x]:
                    cell = cells[b, (y // stride) * w + x // stride].reshape(3, stride, stride)
                    total += float((cell[:, y % stride, x % stride] - pixels[b, :, y, x]).abs().sum())
                    count += 3
        losses.append(total / count)
    assert (h, w) == (-(-40 // stride),) * 2
    torch.testing.assert_close(model(inputs)[:, 0], torch.tensor(losses), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_tiny", "resnet18"])
def test_guessing_is_what_the_mean_colour_scores(name: str) -> None:
    model, masking = made(name, 32)
    inputs = masked(masking)
    pixels, hidden = inputs[:, :3], inputs[:, 3:] > 0
    guessed = Guessing(model)(inputs)[:, 0]
    for b in range(3):
        if name == "resnet18":
            mean = torch.stack([pixels[b, c][~hidden[b, 0]].mean() for c in range(3)])
            wanted = torch.stack([(pixels[b, c] - mean[c]).abs()[hidden[b, 0]] for c in range(3)]).mean()
        else:
            n = 3 * model.patch**2
            wanted = torch.tensor((n - 1) / n)  # normalised by the unbiased deviation
        torch.testing.assert_close(guessed[b], wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_tiny", "resnet18"])
def test_what_is_filled_in_stands_where_it_was_hidden(name: str) -> None:
    model, masking = made(name, 32)
    inputs = masked(masking)
    pixels, hidden = inputs[:, :3], inputs[:, 3:]
    if isinstance(model, MaskedAutoencoder):
        mean, deviation = model._statistics(pixels)
        perfect = (model._cut(pixels) - mean) / deviation
    else:
        perfect = pixels
    torch.testing.assert_close(model.painted(perfect, pixels, hidden), pixels, atol=1e-5, rtol=1e-5)
    painted = model.painted(torch.zeros_like(perfect) - 5, pixels, hidden)
    kept = (hidden == 0).expand_as(pixels)
    assert torch.equal(painted[kept], pixels[kept])
    assert float((painted - pixels)[~kept].abs().mean()) > 1


# ----------------------------------------------------------------------------------------------- what can be learned


def planted(count: int, size: int, seed: int) -> Tensor:
    """Each image is one of two pictures of noise: what is hidden is known once it is known which.

    By the place alone, without looking at what is visible, half of the normalised error is left.
    """
    pictures = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(99))
    return pictures[torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize(
    ("name", "size", "stated", "bound"),
    [
        ("vit_tiny", 8, {"model.patch_size": 2, "pretrain.decoder_depth": 1}, 0.35),
        ("resnet18", 16, {"model.options.width": 8, "model.options.depths": (1, 1, 1, 1)}, 0.5),
    ],
)
def test_a_pattern_that_can_be_filled_in_is_filled_in(
    name: str, size: int, stated: dict[str, Any], bound: float
) -> None:
    model, masking = made(name, size, **stated)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for step in range(100):
        masks = torch.stack([masking.draw(step, i) for i in range(16)])
        model.train()
        model(torch.cat([planted(16, size, step), masks], dim=1)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    masks = torch.stack([masking.draw("held out", i) for i in range(64)])
    held_out = torch.cat([planted(64, size, 12345), masks], dim=1)
    model.eval()
    with torch.no_grad():
        assert float(model(held_out).mean()) < bound * float(Guessing(model)(held_out).mean())


# ------------------------------------------------------------------------------------------------------------- choices


def test_first_values_of_the_backbone_are_those_of_a_model_that_is_trained() -> None:
    model, _ = made(**{"model.patch_size": 4})
    plain = create_backbone("vit_tiny", image_size=16, patch_size=4, **SMALL)
    ours = model.backbone.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in plain.state_dict().items())


def test_every_setting_has_a_reason_and_fits_the_model() -> None:
    stated = {"data.source": "memory", "model.image_size": 64}
    choice = choose(FACTS, variant("swin_tiny"), {**stated, "model.name": "swin_tiny"})
    assert choice.config.pretrain.decoder_width is None
    assert choice.config.pretrain.mask_unit == 16
    assert choice.config.task.name == "none"
    assert all(reason.why for reason in choice.reasons)
    vit = choose(FACTS, variant("vit_tiny"), {**stated, "model.name": "vit_tiny"}).config
    assert (vit.pretrain.mask_unit, vit.pretrain.decoder_width, vit.train.beta2) == (8, 96, 0.95)


@pytest.mark.parametrize(
    ("name", "stated", "told"),
    [
        ("swin_tiny", {"pretrain.decoder_depth": 3}, "sees whole images"),
        ("vit_tiny", {"pretrain.mask_unit": 3}, "leaves out are its patches of 4"),
        ("vit_tiny", {"model.patch_size": 16}, "leaves too few to hide some and see some"),
        ("vit_tiny", {"pretrain.decoder_width": 30}, "a multiple of 4"),
    ],
)
def test_what_would_change_nothing_is_refused(name: str, stated: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        config(name, **stated)


@pytest.mark.parametrize(
    "stated",
    [
        {"augment.mixup": 0.2},
        {"task.label_smoothing": 0.1},
        {"distill.teacher": "resnet18"},
        {"train.freeze": "backbone"},
        {"model.weights": "x"},
        {"recipe": "plain"},
        {"train.lora_rank": 4},
        {"task.name": "segment"},
    ],
    ids=str,
)
def test_fields_that_need_targets_are_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="pretraining has no use for it"):
        refuse_useless({"data.source": "memory", **stated})
    refuse_useless({"data.source": "memory", "augment.mixup": 0.0, "train.lr": 0.1, "task.name": "none"})
    assert build({"data.source": "memory"}).task.name == "classify"
