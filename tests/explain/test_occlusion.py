from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lively_families import FAMILIES, asked, family, pictures

from vitrail.errors import UsageError
from vitrail.explain.methods.occlusion import METHOD, occlusion, usual
from vitrail.explain.perturbation import Covering
from vitrail.runtime.torch_engine import TorchEngine


def test_the_value_of_a_window_is_by_how_much_covering_it_lowers_the_score() -> None:
    model, images = family("swin"), pictures(1)
    made = occlusion(model, images, asked(images), covering=Covering((8, 16), (8, 16)))
    covered = images.clone()
    covered[:, :, 16:24, 32:48] = 0
    with torch.no_grad():
        fall = model(images)[0, 1] - model(covered)[0, 1]
    torch.testing.assert_close(made[0, 16:24, 32:48], fall.expand(8, 16), rtol=1e-4, atol=1e-5)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    data=st.data(),
)
def test_every_pixel_is_covered_and_no_window_lies_outside(
    size: tuple[int, int], window: tuple[int, int], data: st.DataObject
) -> None:
    step = (data.draw(st.integers(1, window[0])), data.draw(st.integers(1, window[1])))
    times = np.zeros(size, int)
    for rows, columns in Covering(window, step).windows(size):
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]
        times[rows, columns] += 1
    assert times.min() >= 1


@pytest.mark.parametrize(
    ("size", "cell", "window", "step"),
    [
        ((224, 224), (16, 16), (32, 32), (16, 16)),
        ((224, 224), (4, 4), (32, 32), (16, 16)),
        ((1024, 1024), (16, 16), (160, 160), (80, 80)),
        ((32, 64), (8, 8), (16, 16), (8, 8)),
        ((8, 8), (1, 1), (2, 2), (1, 1)),
        ((12, 30), (12, 30), (12, 30), (12, 30)),
    ],
)
def test_steps_are_whole_cells_and_few(
    size: tuple[int, int], cell: tuple[int, int], window: tuple[int, int], step: tuple[int, int]
) -> None:
    covering = usual(size, cell)
    assert (covering.window, covering.step) == (window, step)
    assert len(covering.windows(size)) <= 14 * 14


@pytest.mark.parametrize("kind", ["vit", "pvt_v2", "resnet"])
def test_an_engine_is_explained_as_the_model_it_runs(kind: str) -> None:
    model, images = family(kind), pictures()
    covering = Covering((16, 16), (8, 8))
    made = occlusion(TorchEngine(model, "cpu"), images, asked(images), covering=covering)
    torch.testing.assert_close(made, occlusion(model, images, asked(images), covering=covering), rtol=1e-4, atol=1e-5)
    assert occlusion(TorchEngine(model, "cpu"), images, asked(images)).shape == (2, 32, 48)


def test_an_exported_program_is_explained_without_gradients() -> None:
    model, images = family("vit"), pictures()
    program: Any = torch.export.export(model, (images[:1],)).module()

    def engine(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            return np.concatenate([program(one[None]).numpy() for one in torch.from_numpy(pixels)])

    covering = Covering((16, 16), (8, 8))
    made = occlusion(engine, images, asked(images), covering=covering)
    torch.testing.assert_close(made, occlusion(model, images, asked(images), covering=covering), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="tokens of an exported model cannot be told apart"):
        occlusion(engine, images, asked(images, reader="cls"))


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_caption_says_the_windows_in_use(kind: str) -> None:
    cells = 8 if kind in {"vit", "vit_mean", "vit_map", "deit"} else 4
    assert (
        METHOD.where(family(kind), None, None) == f"windows of {2 * cells} x {2 * cells} px, {cells} x {cells} px apart"
    )
