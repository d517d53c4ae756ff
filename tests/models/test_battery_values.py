"""Every structure of the catalogue computes as it should: gradients, first values, files, compilers, precisions."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from reduced import BLOCKS, SIDE, Reduced, images, stir, structures
from torch import nn

from vitrail import artifact
from vitrail.assemble import build_model
from vitrail.contracts import Features
from vitrail.cost.count import gmacs
from vitrail.data.preprocess import Preprocessor
from vitrail.layers.attention import ScaledDotProduct
from vitrail.layers.recompute import recompute
from vitrail.models import variant
from vitrail.settings import build
from vitrail.tasks import create_task

every_structure = pytest.mark.parametrize("small", structures(), ids=str)


def _loss(outputs: torch.Tensor) -> torch.Tensor:
    return (outputs.float() * torch.linspace(-1, 2, outputs.numel()).reshape(outputs.shape)).sum()


def _silent(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]


@every_structure
def test_the_gradient_reaches_every_parameter(small: Reduced) -> None:
    model = small.model()
    stir(model)  # zeros among the first values would stop a gradient
    pixels = images(model.backbone).requires_grad_()
    _loss(model(pixels)).backward()
    assert _silent(model) == []
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert (pixels.grad != 0).float().mean() > 0.99


# ------------------------------------------------------------------------------------------------------ first values


@every_structure
def test_first_values_depend_on_seed_and_name_alone(small: Reduced) -> None:
    model, again, other = small.model(seed=1), small.model(seed=1), small.model(seed=2)
    torch.manual_seed(99)  # a global generator has no say
    wider_head = small.model(outputs=5, seed=1)
    backbone = small.backbone(seed=1)
    deeper = small.backbone(seed=1, **_deeper(small))
    named = dict(model.named_parameters())
    for name, value in named.items():
        assert torch.equal(value, again.get_parameter(name))
        if name.startswith("backbone."):
            assert torch.equal(value, wider_head.get_parameter(name))
            assert torch.equal(value, backbone.get_parameter(name.removeprefix("backbone.")))
    drawn = [name for name, value in named.items() if (value != value.flatten()[0]).any()]
    assert len(drawn) > len(named) / 4
    assert not [name for name in drawn if torch.equal(named[name], other.get_parameter(name))]
    mine, shared = dict(backbone.named_parameters()), set(backbone.state_dict()) & set(deeper.state_dict())
    alike = [name for name in shared & set(mine) if mine[name].shape == deeper.get_parameter(name).shape]
    assert len(alike) > len(mine) / 2
    assert all(torch.equal(mine[name], deeper.get_parameter(name)) for name in alike)


def _deeper(small: Reduced) -> dict:
    """A block more in each stage, where the family lets one choose."""
    fields = type(variant(small.name).config).model_fields
    if "depths" in fields:
        return {"depths": tuple(depth + 1 for depth in small.options["depths"])}
    return {"depth": BLOCKS + 1} if "depth" in fields else {}


@every_structure
def test_building_leaves_the_global_generator_alone(small: Reduced) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    small.model()
    assert torch.equal(state, torch.get_rng_state())


@every_structure
def test_a_fresh_model_answers_moderately(small: Reduced) -> None:
    """First values keep signals at a scale that training can start from."""
    model = small.model(outputs=10).requires_grad_(False)
    features = model.features(images(model.backbone))
    assert features.tokens.isfinite().all()
    assert 0.05 < float(features.tokens.std()) < 20
    loss = F.cross_entropy(model(images(model.backbone, batch=4)), torch.arange(4))
    assert 1.5 < float(loss) < 4  # log(10) is 2.3


# ------------------------------------------------------------------------------------------------------------- files


@every_structure
def test_a_model_folder_brings_the_same_model_back(small: Reduced, tmp_path) -> None:
    row, options = variant(small.name), dict(small.options)
    patch = options.pop("patch_size", row.config.patch_size)
    own = {"name": small.name, "image_size": SIDE, "patch_size": patch, "pooling": row.config.pooling}
    stated = {f"model.{key}": value for key, value in own.items()}
    flat = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    config = build({"data.source": "photos", **stated, "model.options": flat})
    task = create_task("classify", ["cat", "dog", "owl"])
    model = build_model(config, task).eval()
    stir(model)
    artifact.save(tmp_path / "best", model, config, task, Preprocessor.from_config(config), {"run": "photos"})
    again = artifact.load(tmp_path / "best").model
    pixels = images(model.backbone)
    with torch.no_grad():
        assert torch.equal(model(pixels), again(pixels))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@every_structure
def test_a_state_dict_holds_all_that_is_learned_and_nothing_that_is_computed(small: Reduced) -> None:
    model, other = small.model(seed=1), small.model(seed=2)
    stir(model)
    learned = {name for name, _ in model.named_parameters()}
    statistics = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key, _ in module.named_buffers()
    }
    assert set(model.state_dict()) == learned | statistics
    other.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(model(images(model.backbone)), other(images(model.backbone)))


@every_structure
def test_a_deep_copy_is_a_model_of_its_own(small: Reduced) -> None:
    model = small.model()
    twin = copy.deepcopy(model)
    pixels = images(model.backbone)
    with torch.no_grad():
        before = twin(pixels)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(twin(pixels), before)


# --------------------------------------------------------------------------------------- compilers, precision, memory


@every_structure
def test_it_compiles_whole_and_trains_compiled(small: Reduced) -> None:
    model = small.model()
    stir(model)
    pixels = images(model.backbone)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(pixels), model(pixels), rtol=1e-4, atol=1e-4)
    training = small.model(drop_path=0.3).train()
    torch.compile(training, fullgraph=True, backend="aot_eager")(pixels).sum().backward()
    assert _silent(training.head) == []
    torch.compiler.reset()


@every_structure
def test_it_exports_with_its_features(small: Reduced) -> None:
    model = small.model()
    stir(model)
    pixels = images(model.backbone)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(model, (pixels,)).module()(pixels), model(pixels))
        features = torch.export.export(model.backbone, (pixels, True)).module()(pixels, True)
        eager = model.features(pixels, pyramid=True)
    assert isinstance(features, Features)
    assert features.grid == eager.grid
    torch.testing.assert_close(features.tokens, eager.tokens)
    torch.testing.assert_close(features.prefix, eager.prefix)
    for ours, theirs in zip(features.pyramid, eager.pyramid, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_structure
def test_bf16_is_close_to_fp32(small: Reduced) -> None:
    model = small.model(outputs=10)
    pixels = images(model.backbone)
    with torch.no_grad():
        exact = model.features(pixels).tokens
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model.features(pixels).tokens
            assert model(pixels).isfinite().all()
        whole = model.bfloat16().features(pixels.bfloat16()).tokens
    assert whole.dtype == torch.bfloat16
    for rough in (mixed.float(), whole.float()):
        assert float((rough - exact).norm() / exact.norm()) < 0.05


@every_structure
def test_bf16_trains(small: Reduced) -> None:
    model = small.model().train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images(model.backbone, batch=4))
    _loss(outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_structure
def test_recomputed_blocks_give_the_same_bits(small: Reduced) -> None:
    plain, lean = small.model(drop_path=0.5).train(), small.model(drop_path=0.5).train()
    recompute(lean.backbone.blocks())
    assert list(plain.state_dict()) == list(lean.state_dict())
    results = []
    for model in (plain, lean):
        torch.manual_seed(3)
        loss = _loss(model(images(model.backbone, batch=4)))
        loss.backward()
        results.append((loss.detach(), [p.grad for p in model.parameters()]))
    (loss, gradients), (other, others) = results
    assert torch.equal(loss, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


# ------------------------------------------------------------------------------------------------- attention, fused


@every_structure
def test_no_pass_forms_an_attention_matrix(small: Reduced, monkeypatch) -> None:
    """Each attention calls the fused kernel once, through its core, and nobody takes a softmax by hand."""
    model = small.model()
    cores = [module for module in model.modules() if isinstance(module, ScaledDotProduct)]
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(a) or fused(*a, **k))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a softmax outside of the kernel")

    for place, name in ((torch, "softmax"), (torch.Tensor, "softmax"), (F, "softmax"), (nn.Softmax, "forward")):
        monkeypatch.setattr(place, name, refused)
    seen = []
    for core in cores:
        core.register_forward_hook(lambda core, args, output: seen.append((core, len(args))))
    with torch.no_grad():
        model(images(model.backbone))
    assert len(calls) == len(cores) == len(seen)
    assert {core for core, _ in seen} == set(cores)
    assert all(count == 4 for _, count in seen)
    for core in cores:
        assert not [*core.parameters(), *core.buffers()]


@every_structure
def test_blocks_counted_once_are_counted_right(small: Reduced) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = small.model().requires_grad_(False)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(torch.zeros(1, 3, SIDE, SIDE))
    assert gmacs(model, (SIDE, SIDE)) == counter.get_total_flops() / 2e9
