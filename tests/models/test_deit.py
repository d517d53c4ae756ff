"""What sets DeiT and DeiT III apart from ViT, as statements that can fail."""

from __future__ import annotations

import pytest
import torch

import vitrail
from vitrail.models import create_backbone, list_models, short_names, variant

SMALL = {"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 48, "depth": 4}


def _small(name: str, **options):
    return create_backbone(name, **{**SMALL, **options})


def _images(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_distilled_deit_has_a_second_token_with_a_position() -> None:
    plain, distilled = _small("deit_tiny"), _small("deit_tiny_distilled", registers=2)
    assert plain.prefix_names == ("cls",)
    assert distilled.prefix_names == ("cls", "dist", "register", "register")
    assert plain.pos_embed.shape == (1, 1 + 16, 24)
    assert distilled.pos_embed.shape == (1, 2 + 16, 24)
    features = distilled(_images())
    assert features.prefix.shape == (2, 4, 24)
    assert features.tokens.shape == (2, 16, 24)
    embedded = distilled.embed(_images())
    torch.testing.assert_close(embedded[0, 1], distilled.dist_token[0, 0] + distilled.pos_embed[0, 1])
    torch.testing.assert_close(embedded[0, 2:4], distilled.registers[0])


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (24, 48)])
def test_resizing_keeps_both_rows_of_the_prefix(size: tuple[int, int]) -> None:
    model = _small("deit_tiny_distilled")
    rows = model.pos_embed[:, :2].clone()
    model.set_image_size(size)
    torch.testing.assert_close(model.pos_embed[:, :2], rows)
    assert model(torch.randn(1, 3, *size)).tokens.shape == (1, size[0] * size[1] // 64, 24)


def test_deit3_gives_positions_to_patches_alone() -> None:
    model = _small("deit3_small")
    assert model.pos_embed.shape == (1, 16, 24)
    embedded = model.embed(_images())
    torch.testing.assert_close(embedded[:, 0], model.cls_token[0].expand(2, -1))
    torch.testing.assert_close(embedded[:, 1:], model.patch_embed(_images()) + model.pos_embed)
    model.set_image_size((48, 48))
    assert model.pos_embed.shape == (1, 36, 24)


def test_fixed_positions_leave_the_prefix_without() -> None:
    assert float(_small("deit_tiny_distilled", position="sincos").pos_embed[:, :2].abs().max()) == 0
    assert _small("deit3_small", position="sincos").pos_embed.shape == (1, 16, 24)
    _small("deit3_small", position="none")(_images())


def test_deit3_scales_both_branches_by_a_ten_thousandth() -> None:
    for block in _small("deit3_small").blocks():
        for scale in (block.scale1, block.scale2):
            torch.testing.assert_close(scale.gamma.detach(), torch.full((24,), 1e-4))


def test_deit3_drops_all_blocks_alike_and_deit_the_last_most() -> None:
    rates = {
        name: [block.drop_path.rate for block in _small(name, drop_path=0.3).blocks()]
        for name in ("deit3_small", "deit_small")
    }
    assert rates["deit3_small"] == pytest.approx([0.3] * 4)
    assert rates["deit_small"] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_tokens_begin_as_in_deits_code() -> None:
    model = create_backbone("deit_base_distilled", image_size=16, depth=1)
    for token in model.leading_tokens():
        assert float(token.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert {id(p) for p in model.undecayed()} == {id(p) for p in (model.cls_token, model.dist_token, model.pos_embed)}


def test_all_rows_are_normalised_as_imagenet_is() -> None:
    names = list_models("deit*")
    assert len(names) == 20
    assert {variant(name).normalisation for name in names} == {"imagenet"}
    assert {variant(name).family for name in names} == {"deit"}
    assert [variant(name).crop_fraction for name in names] == [1.0 if name.endswith("384") else 0.9 for name in names]


def test_short_names_take_the_usual_patch_at_224() -> None:
    short = short_names()
    assert short["deit_tiny_distilled"] == "deit_tiny_distilled_patch16_224"
    assert short["deit3_huge"] == "deit3_huge_patch14_224"
    assert all(short[name].startswith(f"{name}_patch") for name in short if name.startswith("deit"))


def test_the_published_figures_are_of_the_checkpoint_of_their_size() -> None:
    best = {name: max(figure.accuracy for figure in variant(name).published) for name in list_models("deit3_*_384")}
    assert best == {"deit3_small_patch16_384": 0.848, "deit3_base_patch16_384": 0.867, "deit3_large_patch16_384": 0.877}
    timm = [f for f in variant("deit_tiny_distilled").published if f.source.startswith("timm")]
    assert [(f.accuracy, f.image_size, f.data) for f in timm] == [(0.74538, 224, "1k")]


def test_a_distilled_deit_learns() -> None:
    """A few steps on two images halve the loss, and every parameter moves."""
    model = vitrail.create_model("deit_tiny_distilled", outputs=2, **SMALL, drop_path=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(16):
        loss = model.task.loss(model(_images()), torch.tensor([0, 1]), train=True).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []
