"""Other people's implementations of the same methods, on our models: captum and pytorch-grad-cam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lively_families import FAMILIES, asked, family, pictures
from torch import Tensor, nn

from vitrail.explain.methods.grad_cam import grad_cam
from vitrail.explain.methods.input_gradient import input_gradient
from vitrail.explain.methods.integrated_gradients import integrated_gradients
from vitrail.explain.methods.mean_ablation import mean_ablation
from vitrail.explain.methods.occlusion import occlusion
from vitrail.explain.methods.smoothgrad import draw, smoothgrad
from vitrail.explain.perturbation import Covering

CLOSE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}
SOME = ("vit", "swin", "pvt_v2", "resnet")


@pytest.fixture(scope="module")
def captum() -> Any:
    return pytest.importorskip("captum.attr", reason="needs captum, the reference implementation")


# ------------------------------------------------------------------------------------------------- pytorch-grad-cam

Layer = Callable[[Any], nn.Module]
LAYERS: dict[str, tuple[str, int | None, Layer]] = {
    "vit": ("vit", None, lambda b: b.encoder[-1].norm1),
    "vit, earlier": ("vit", 0, lambda b: b.encoder[0].norm1),
    "vit_mean": ("vit_mean", None, lambda b: b.norm),
    "vit_map": ("vit_map", None, lambda b: b.norm),
    "deit": ("deit", None, lambda b: b.encoder[-1].norm1),
    "swin": ("swin", None, lambda b: b.norm),
    "swin, last block": ("swin", -1, lambda b: b.levels[-1].blocks[-1].norm1),
    "swin, first grid": ("swin", 1, lambda b: b.levels[0].blocks[-1].norm1),
    "swin_v2": ("swin_v2", None, lambda b: b.norm),
    "pvt": ("pvt", None, lambda b: b.levels[-1].blocks[-1].norm1),
    "pvt_v2": ("pvt_v2", None, lambda b: b.levels[-1].norm),
    "resnet": ("resnet", None, lambda b: b.levels()[-1]),
    "resnet, earlier": ("resnet", 1, lambda b: b.levels()[1]),
    "convnext, last block": ("convnext", -1, lambda b: b.levels()[-1][-1]),
}


FINER: dict[str, tuple[str, int | None, Layer]] = {
    "vit": ("vit", None, lambda b: b.encoder[-1].norm1),
    "vit, earlier": ("vit", 0, lambda b: b.encoder[0].norm1),
    "vit_mean": ("vit_mean", None, lambda b: b.norm),
    "deit": ("deit", None, lambda b: b.encoder[-1].norm1),
    "swin": ("swin", None, lambda b: b.levels[0].blocks[-1].norm1),
    "swin, last block": ("swin", -1, lambda b: b.levels[-1].blocks[-1].norm1),
    "pvt": ("pvt", None, lambda b: b.levels[-2].blocks[-1].norm1),
    "pvt_v2": ("pvt_v2", None, lambda b: b.levels[-2].blocks[-1].norm1),
    "resnet": ("resnet", None, lambda b: b.levels()[-2]),
    "resnet, last block": ("resnet", -1, lambda b: b.levels()[-1]),
    "convnext": ("convnext", None, lambda b: b.levels()[-2][-1]),
}
"""Of a hierarchy, the end of the stage before the last where no layer is named."""


@pytest.mark.parametrize("case", LAYERS)
def test_grad_cam_is_that_of_pytorch_grad_cam(case: str) -> None:
    """Layers as its documentation chooses them, or the last norm; its map before it cuts off what is below zero."""
    kind, layer, chosen = LAYERS[case]
    model, images = family(kind), pictures()
    theirs = of_peer("GradCAM", model, images, chosen(model.backbone))
    torch.testing.assert_close(grad_cam(model, images, asked(images), layer=layer), theirs, **CLOSE)


@pytest.mark.parametrize("case", FINER)
def test_mean_ablation_is_pytorch_grad_cams_hires_cam_of_what_sets_cells_apart(case: str) -> None:
    kind, layer, chosen = FINER[case]
    model, images = family(kind), pictures()
    theirs = of_peer("HiResCAM", model, images, chosen(model.backbone), lambda a: a - a.mean((2, 3), keepdim=True))
    torch.testing.assert_close(mean_ablation(model, images, asked(images), layer=layer), theirs, **CLOSE)


def of_peer(
    name: str, model: Any, images: Tensor, layer: nn.Module, change: Callable[[Tensor], Tensor] = lambda values: values
) -> Tensor:
    """The map of a class of pytorch-grad-cam for output 1, (B, H, W); of activations that `change` has changed."""
    peer = pytest.importorskip("pytorch_grad_cam", reason="needs pytorch-grad-cam, the reference implementation")
    output = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    names = {(4 * 6): (4, 6), (8 * 12): (8, 12), (2 * 3): (2, 3)}

    def on_grid(held: Tensor) -> Tensor:
        if held.ndim == 4:
            return held
        count = next(n for n in sorted(names, reverse=True) if n <= held.shape[1] <= n + 3)
        return held[:, held.shape[1] - count :].transpose(1, 2).unflatten(2, names[count])

    wanted = [output(1)] * len(images)
    with getattr(peer, name)(model, [layer], reshape_transform=on_grid) as cam:
        cam(images, wanted)
        values = change(cam.activations_and_grads.activations[0])
        slopes = cam.activations_and_grads.gradients[0]
        made = cam.get_cam_image(images, layer, wanted, values.numpy(), slopes.numpy(), False)  # (B, h, w)
    theirs = torch.from_numpy(made)
    assert float(theirs.std()) > 1e-4
    high, wide = images.shape[2] // theirs.shape[1], images.shape[3] // theirs.shape[2]
    return theirs.repeat_interleave(high, 1).repeat_interleave(wide, 2)


# ------------------------------------------------------------------------------------------------------------ captum


@pytest.mark.parametrize("kind", FAMILIES)
def test_gradient_times_input_is_that_of_captum(kind: str, captum: Any) -> None:
    model, images = family(kind), pictures()
    theirs = captum.InputXGradient(model).attribute(images.clone().requires_grad_(), target=1).detach().sum(1)
    torch.testing.assert_close(input_gradient(model, images, asked(images)), theirs, **CLOSE)


@pytest.mark.parametrize("kind", SOME)
def test_integrated_gradients_are_those_of_captum(kind: str, captum: Any) -> None:
    model, images = family(kind), pictures()
    peer = captum.IntegratedGradients(model)
    theirs = peer.attribute(images, baselines=0.0, target=1, n_steps=32, method="gausslegendre").detach().sum(1)
    torch.testing.assert_close(integrated_gradients(model, images, asked(images)), theirs.float(), **CLOSE)


@pytest.mark.parametrize("kind", SOME)
def test_smoothgrad_is_captums_noise_tunnel_with_our_noise(
    kind: str, captum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its draws are of the global generator, so ours are put in their place; it takes one range for a whole batch."""
    model, images = family(kind), pictures(1)
    spread = float(0.15 * (images.max() - images.min()))

    def ours(mean: float, deviation: Tensor) -> Tensor:
        return torch.stack([draw(n, images) for n in range(len(deviation))]) * deviation

    monkeypatch.setattr(torch, "normal", ours)
    tunnel = captum.NoiseTunnel(captum.Saliency(model))
    slopes = tunnel.attribute(images, nt_type="smoothgrad", nt_samples=6, stdevs=spread, target=1, abs=False)
    theirs = (images * slopes.detach()).sum(1)
    torch.testing.assert_close(smoothgrad(model, images, asked(images), samples=6), theirs, **CLOSE)


@pytest.mark.parametrize("kind", SOME)
@pytest.mark.parametrize(
    "covering", [Covering((8, 8), (8, 8)), Covering((16, 12), (8, 12)), Covering((10, 20), (7, 9))]
)
def test_occlusion_is_that_of_captum(kind: str, covering: Covering, captum: Any) -> None:
    model, images = family(kind), pictures()
    with torch.no_grad():
        theirs = captum.Occlusion(model).attribute(
            images, (3, *covering.window), (3, *covering.step), baselines=0.0, target=1
        )[:, 0]
    made = occlusion(model, images, asked(images), covering=covering)
    torch.testing.assert_close(made, theirs.float(), **CLOSE)
