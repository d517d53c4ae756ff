"""Mixup and CutMix: fixed groups, honest shares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vitrail.contracts import Batch
from vitrail.data.mixing import MIX_GROUP, mix
from vitrail.settings import AugmentConfig

MIXUP, CUTMIX = AugmentConfig(mixup=0.8), AugmentConfig(cutmix=1.0)
BOTH = AugmentConfig(mixup=0.8, cutmix=1.0)


def batch(count: int, failed: tuple[int, ...] = ()) -> Batch:
    """Image i is full of i + 1."""
    images = torch.arange(1.0, count + 1)[:, None, None, None].repeat(1, 2, 10, 12)
    weights = torch.ones(count)
    for row in failed:
        images[row], weights[row] = 0, 0
    rows = torch.arange(count)
    return Batch(images, rows, weights, rows, rows, tuple(map(str, range(count))))


@pytest.mark.parametrize("config", [MIXUP, CUTMIX, BOTH])
def test_every_image_is_its_share_of_itself_and_the_rest_its_partners(config: AugmentConfig) -> None:
    plain = batch(32)
    for step in range(20):
        mixed = mix(plain, config, 0, step)
        assert mixed.mixing is not None
        share, partners = mixed.mixing.share, mixed.mixing.partners
        own, other = plain.images.mean(dim=(1, 2, 3)), plain.images[partners].mean(dim=(1, 2, 3))
        # for CutMix this holds only if the share is that of the box as clipped
        assert torch.allclose(mixed.images.mean(dim=(1, 2, 3)), share * own + (1 - share) * other, atol=1e-4)
        assert torch.equal(mixed.targets, plain.targets)


def test_partners_are_others_of_the_same_eight() -> None:
    for count in (8, 20, 33):
        mixing = mix(batch(count), MIXUP, 0, 3).mixing
        assert mixing is not None
        rows = torch.arange(count)
        assert torch.equal(mixing.partners // MIX_GROUP, rows // MIX_GROUP)
        in_company = rows[rows // MIX_GROUP * MIX_GROUP < count - 1]
        assert bool((mixing.partners != rows)[in_company].all())
        assert sorted(mixing.partners.tolist()) == rows.tolist()


@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_copies_of_an_image_are_not_mixed_with_each_other(repeats: int) -> None:
    met = set()
    for step in range(24):
        rows = torch.arange(24)
        positions = 24 * step + rows
        mixing = mix(replace(batch(24), positions=positions), repeated(repeats), 0, step).mixing
        assert mixing is not None
        assert bool((positions // repeats != positions[mixing.partners] // repeats).all())
        assert torch.equal(mixing.partners // MIX_GROUP, rows // MIX_GROUP)
        assert sorted(mixing.partners.tolist()) == rows.tolist()
        met |= {(int(row % MIX_GROUP), int(other % MIX_GROUP)) for row, other in enumerate(mixing.partners)}
    assert len(met) > 16  # the circle is drawn anew each time


def test_a_group_of_copies_alone_still_mixes_each_with_another() -> None:
    mixing = mix(batch(8), repeated(8), 0, 0).mixing
    assert mixing is not None
    assert bool((mixing.partners != torch.arange(8)).all())


def repeated(repeats: int) -> AugmentConfig:
    return MIXUP.model_copy(update={"repeats": repeats})


def test_micro_batches_mix_as_the_whole_batch_does() -> None:
    whole = batch(32)
    at_once = mix(whole, BOTH, 7, 5)
    cut = {name: getattr(whole, name)[16:] for name in ("images", "targets", "weights", "positions", "indices")}
    second = mix(replace(whole, **cut, keys=whole.keys[16:]), BOTH, 7, 5, first_group=2)
    assert torch.equal(second.images, at_once.images[16:])
    assert at_once.mixing is not None
    assert second.mixing is not None
    assert torch.equal(second.mixing.partners + 16, at_once.mixing.partners[16:])
    assert torch.equal(second.mixing.share, at_once.mixing.share[16:])


def test_draws_depend_on_seed_step_and_group_alone() -> None:
    torch.manual_seed(1)
    one = mix(batch(16), BOTH, 0, 1).images
    torch.manual_seed(2)
    assert torch.equal(mix(batch(16), BOTH, 0, 1).images, one)
    assert not torch.equal(mix(batch(16), BOTH, 0, 2).images, one)
    assert not torch.equal(mix(batch(16), BOTH, 1, 1).images, one)


def test_where_both_are_on_each_group_draws_one() -> None:
    cut = 0
    for step in range(100):
        first = mix(batch(8), BOTH, 0, step).images[0]
        cut += len(first.unique()) == 2
    assert 30 < cut < 70


def test_a_failed_image_is_mixed_into_none() -> None:
    mixed = mix(batch(8, failed=(3,)), MIXUP, 0, 0)
    assert mixed.mixing is not None
    (beside,) = (mixed.mixing.partners == 3).nonzero().ravel().tolist()
    assert mixed.mixing.share[beside] == 1
    assert torch.equal(mixed.images[beside], batch(8).images[beside])
    assert mixed.weights[3] == 0


def test_nothing_is_mixed_unless_asked() -> None:
    plain = batch(8)
    assert mix(plain, AugmentConfig(), 0, 0) is plain
    never = mix(plain, AugmentConfig(mixup=0.8, mix_probability=0.0), 0, 0)
    assert torch.equal(never.images, plain.images)
    assert never.mixing is not None
    assert bool((never.mixing.share == 1).all())
    assert float(plain.images[0, 0, 0, 0]) == 1  # the batch given is never written to
