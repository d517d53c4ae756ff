"""The page of explanations in a real browser: mouse, finger, keys, and numbers that are those of the methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from lively_families import FAMILIES, family, pictures
from PIL import Image

from vitrail.assemble import VisionModel
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.explainer import explain, explain_heads
from vitrail.explain.methods.raw_attention import raw_attention
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.target import Target
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import gaze, watch

pytestmark = pytest.mark.chromium
READY = "document.documentElement.dataset.ready === 'true'"
SCRIPTS = Path(__file__).parents[2] / "src" / "vitrail" / "explain" / "templates" / "viewer"


@pytest.fixture
def page(small: Any, photo: Any, tmp_path: Path) -> Path:
    """Two images, the second mirrored, explained by three methods."""
    made = Album()
    for name, pixels in (("one.jpg", photo), ("two </b>.jpg", np.ascontiguousarray(photo[:, ::-1]))):
        explanations = [explain(small, pixels, name, method=m) for m in ("rollout", "raw_attention", "input_gradient")]
        made.add(explanations, gaze(small, pixels), "vit")
    return made.write(tmp_path)


def words(browser: Browser, name: str) -> str:
    return str(browser.get(f"document.getElementById({name!r}).textContent"))


def slide(browser: Browser, name: str, value: int) -> None:
    browser.get(
        f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input')); }})(document.getElementById({name!r}))"
    )
    browser.settle()


def heat(browser: Browser) -> list[int]:
    """The pixels of the map over the photograph."""
    copy = "Object.assign(document.createElement('canvas'), {width: c.width, height: c.height})"
    pen = f"{copy}.getContext('2d', {{willReadFrequently: true}})"
    read = f"(c => {{ const p = {pen}; p.drawImage(c, 0, 0); return p.getImageData(0, 0, c.width, c.height).data; }})"
    found: list[int] = browser.get(f"Array.from({read}(document.getElementById('heat')))")
    return found


# ----------------------------------------------------------------------------------------------------------- in use


def test_hovering_shows_where_a_patch_looks_and_leaving_takes_it_back(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    rest, at_rest = words(browser, "readout"), heat(browser)
    assert rest.startswith("The [CLS] token takes most, ")
    browser.hover("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The patch in row 3, column 1 takes most, ")
    first = heat(browser)
    assert first != at_rest
    assert not browser.get("document.getElementById('mark').hidden")
    browser.hover("#stage", 0.8, 0.3)
    assert words(browser, "readout").startswith("The patch in row 1, column 3 takes most, ")
    assert heat(browser) != first
    browser.hover("h1")
    assert (words(browser, "readout"), heat(browser)) == (rest, at_rest)
    assert browser.get("document.getElementById('mark').hidden")


def test_under_a_method_that_knows_no_patches_hovering_shows_where_one_looks(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    slide(browser, "method", 2)
    at_rest = heat(browser)
    browser.hover("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The patch in row 3, column 1 takes most, ")
    assert words(browser, "caption") == "raw attention: layer 2 (of 0 to 2), mean of heads"
    browser.hover("h1")
    assert words(browser, "caption").startswith("input gradient: ")
    assert heat(browser) == at_rest
    browser.click("#stage", 0.3, 0.8)
    browser.hover("h1")
    assert words(browser, "caption").startswith("raw attention: ")
    slide(browser, "method", 2)
    assert heat(browser) == at_rest, "who chooses a method sees it"


def test_a_click_keeps_a_patch_and_another_lets_it_go(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    rest = words(browser, "readout")
    browser.click("#stage", 0.3, 0.8)
    browser.hover("h1")
    assert words(browser, "readout").startswith("The patch in row 3, column 1 ")
    browser.click("#from [data-kind=prefix]")
    assert words(browser, "readout") == rest, "the answer is read from [CLS]"
    browser.click("#stage", 0.3, 0.8)
    browser.click("#stage", 0.3, 0.8)
    browser.hover("h1")
    assert words(browser, "readout") == rest


def test_the_sliders_choose_layer_head_method_and_opacity(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    assert words(browser, "caption") == "rollout: all 3 layers, mean of heads"
    assert browser.get("document.getElementById('head').disabled")
    slide(browser, "method", 1)
    assert words(browser, "caption") == "raw attention: layer 2 (of 0 to 2), mean of heads"
    seen = [heat(browser)]
    for name, value, caption in (
        ("layer", 0, "raw attention: layer 0 (of 0 to 2), mean of heads"),
        ("head", 2, "raw attention: layer 0 (of 0 to 2), head 2"),
        ("opacity", 20, "raw attention: layer 0 (of 0 to 2), head 2"),
    ):
        slide(browser, name, value)
        assert words(browser, "caption") == caption
        assert heat(browser) not in seen
        seen.append(heat(browser))
    strongest = max(seen[-1][3::4])
    assert strongest == pytest.approx(0.2 * 255, abs=1)
    slide(browser, "method", 2)
    assert words(browser, "caption").startswith("input gradient: ")
    assert browser.get("document.getElementById('layer').disabled")


def test_keys_do_all_that_the_mouse_does(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    browser.get("document.activeElement.blur()")
    for _ in range(20):
        if browser.get("document.activeElement.id") == "stage":
            break
        browser.press("Tab")
    assert browser.get("document.activeElement.id") == "stage", "the picture can be reached with Tab"
    browser.press("ArrowRight")
    assert "row 2, column 2" in words(browser, "readout")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    browser.press("ArrowUp")
    assert words(browser, "readout").startswith("The patch in row 1, column 3 ")
    browser.press("m")
    browser.press("l", shift=False)
    browser.press("L", shift=True)
    browser.press("h")
    assert words(browser, "caption") == "raw attention: layer 1 (of 0 to 2), head 0"
    browser.press("Escape")
    assert words(browser, "readout").startswith("The [CLS] token ")
    browser.get("document.getElementById('layer').focus()")
    browser.press("ArrowLeft")
    assert words(browser, "caption") == "raw attention: layer 0 (of 0 to 2), head 0"


def test_another_image_is_shown_in_the_same_way(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    slide(browser, "method", 1)
    slide(browser, "layer", 0)
    before = heat(browser)
    browser.click("#pictures button:nth-child(2)")
    browser.until("document.getElementById('source').textContent === 'two </b>.jpg'")
    browser.settle()
    assert words(browser, "caption") == "raw attention: layer 0 (of 0 to 2), mean of heads"
    assert heat(browser) != before


def test_a_tile_of_the_grid_and_a_figure_choose_what_they_show(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    box = browser.get("(c => [c.clientWidth, c.clientHeight, Number(c.dataset.step)])(document.getElementById('grid'))")
    assert box[0] == 26 + 4 * box[2], "the mean and three heads"
    browser.click("#grid", (26 + 2.5 * box[2]) / box[0], (18 + 0.5 * box[2]) / box[1])
    assert words(browser, "caption") == "raw attention: layer 0 (of 0 to 2), head 1"
    browser.click("#beside-figures button:nth-child(3)")
    assert words(browser, "caption").startswith("input gradient: ")


def test_a_finger_asks_a_patch_on_a_phone(browser: Browser, page: Path) -> None:
    browser.size(360, 740, touch=True)
    browser.open(page, READY)
    browser.tap("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The patch in row 3, column 1 ")
    browser.tap("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The [CLS] token ")


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_nothing_is_wider_than_the_screen(width: int, browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.size(width, 740, touch=width < 500)
    browser.open(page, READY)
    wide = browser.get(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll, #stage, .frame')).map(e => e.outerHTML.slice(0, 100))"
    )
    assert wide == []
    assert browser.get("document.documentElement.scrollWidth") == width
    assert browser.get("[...document.images].every(image => image.naturalWidth > 0)")
    small = browser.get(
        "[...document.querySelectorAll('button, input')].filter(e => e.offsetHeight && e.offsetHeight < 24).length"
    )
    assert small == 0, "fingers are wide"


def test_dark_is_dark(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page, READY)
    levels = []
    for dark in (False, True):
        browser.dark(dark)
        with Image.open(browser.screenshot(tmp_path / f"{dark}.png")) as shot:
            levels.append(np.asarray(shot.convert("L"))[:, :20].mean())
    assert levels[0] > 230
    assert levels[1] < 40


def test_nothing_is_asked_of_any_network_and_nothing_complained_of(browser: Browser, page: Path) -> None:
    browser.open(page, READY)
    browser.hover("#stage", 0.4, 0.4)
    slide(browser, "method", 1)
    assert browser.asked == [page.as_uri()]
    assert browser.complaints == []


def test_a_request_and_a_complaint_would_have_been_seen(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The negative control."""
    bad = page.read_text().replace("<h1>", "<img src='https://example.invalid/a.png'><script>alert(1)</script><h1>")
    (tmp_path / "bad.html").write_text(bad)
    browser.open(tmp_path / "bad.html", READY)
    told = " ".join(browser.complaints)
    assert "Content Security Policy" in told
    assert "example.invalid" in told + " ".join(browser.asked)
    assert "script" in told


def test_a_page_that_cannot_unpack_says_so(browser: Browser, page: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(page.read_text().replace('id="gaze-0">', 'id="gaze-0">AAAA'))
    browser.open(tmp_path / "bad.html")
    browser.until("!document.getElementById('trouble').hidden")
    assert words(browser, "trouble")


# ------------------------------------------------------------------------------------------------- what models carry


def test_a_model_without_attention_shows_its_maps(browser: Browser, small: Any, photo: Any, tmp_path: Path) -> None:
    resnet = replace(small, model=family("resnet", small.task, (32, 32)))
    made = Album()
    made.add([explain(resnet, photo, "a"), explain(resnet, photo, "a", method="input_gradient")], None, "resnet")
    browser.open(made.write(tmp_path), READY)
    assert words(browser, "readout") == "This model has no attention that can be seen: hovering shows nothing."
    before = heat(browser)
    browser.hover("#stage", 0.3, 0.3)
    assert heat(browser) == before
    slide(browser, "method", 1)
    assert heat(browser) != before
    assert browser.get("document.getElementById('every').hidden")
    assert browser.complaints == []


def test_a_pooling_head_shows_the_answer_and_the_layer_before_it_where_a_patch_looks(
    browser: Browser, small: Any, photo: Any, tmp_path: Path
) -> None:
    pooled = replace(small, model=family("vit_map", small.task, (32, 32)))
    made = Album()
    made.add([explain(pooled, photo, "a", method="raw_attention")], gaze(pooled, photo), "vit")
    browser.open(made.write(tmp_path), READY)
    assert words(browser, "caption") == "raw attention: pooling head, mean of heads"
    assert words(browser, "readout").startswith("The pooling head takes most, ")
    browser.hover("#stage", 0.3, 0.8)
    assert words(browser, "caption") == "raw attention: layer 2 (of 0 to 2), mean of heads"
    assert words(browser, "readout").startswith("The patch in row 3, column 1 ")
    browser.get("document.getElementById('stage').focus()")
    browser.press("ArrowUp")
    assert words(browser, "readout").startswith("The patch in row 2, column 1 ")
    assert browser.complaints == []


def test_the_mean_of_heads_can_be_hovered_over_too(
    browser: Browser, small: Any, photo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Album()
    made.add([explain(small, photo, "a", method="raw_attention")], gaze(small, photo), "vit")
    made._shown[0].heads = ""
    browser.open(made.write(tmp_path), READY)
    assert browser.get("document.getElementById('head').disabled")
    browser.hover("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The patch in row 3, column 1 ")
    assert words(browser, "caption") == "raw attention: layer 2 (of 0 to 2), mean of heads"


def test_layers_and_heads_of_another_method_are_under_the_sliders_too(
    browser: Browser, small: Any, photo: Any, tmp_path: Path
) -> None:
    heads = explain_heads(small, photo, "attention_gradient")
    own = explain(small, photo, "a", method="attention_gradient")
    made = Album()
    made.add([own], gaze(small, photo), "vit", heads={"attention_gradient": heads})
    browser.open(made.write(tmp_path), READY)
    assert words(browser, "caption") == own.caption
    seen = [heat(browser)]
    for layer, head in ((2, 1), (0, 1), (0, -1)):
        slide(browser, "layer", layer)
        slide(browser, "head", head)
        told = "mean of heads" if head < 0 else f"head {head}"
        assert words(browser, "caption") == f"attention gradient: layer {layer} (of 0 to 2), {told}"
        assert heat(browser) not in seen
        seen.append(heat(browser))
    hottest = np.argmax(np.array(seen[2])[3::4])
    assert hottest == np.argmax(heads[0][1])
    slide(browser, "layer", 2)
    assert heat(browser) == seen[0], "the method's own"
    assert browser.complaints == []


def test_models_stand_side_by_side_and_are_chosen_there(
    browser: Browser, small: Any, photo: Any, tmp_path: Path
) -> None:
    made = Album()
    for kind in ("vit", "swin", "resnet"):
        artifact = replace(small, model=family(kind, small.task, (32, 32)))
        made.add([explain(artifact, photo, "a.jpg")], gaze(artifact, photo), kind)
    browser.open(made.write(tmp_path), READY)
    assert browser.get("document.querySelectorAll('#beside-figures button').length") == 3
    assert browser.get("document.getElementById('pictures').hidden"), "one photograph"
    for place, kind in ((2, "swin"), (3, "resnet"), (1, "vit")):
        browser.click(f"#beside-figures button:nth-child({place})")
        browser.until(f"document.getElementById('source').textContent === 'a.jpg · {kind}'")
    browser.click("#beside-figures button:nth-child(2)")
    browser.until("document.getElementById('source').textContent === 'a.jpg · swin'")
    slide(browser, "method", 1)
    slide(browser, "layer", 0)
    assert words(browser, "caption") == "raw attention: layer 0 (of 0 to 3) on 8 x 8 cells, mean of heads"
    browser.hover("#stage", 0.3, 0.8)
    assert words(browser, "readout").startswith("The patch in row 6, column 2 ")
    assert browser.complaints == []


# ------------------------------------------------------------------------------------------- the same as the methods


ATTENDING = [kind for kind in FAMILIES if kind not in ("resnet", "convnext")]
ASK = """(async () => {{
{scripts}
const data = {data};
const maps = await Promise.all(data.maps.map(unpackCells));
const gaze = new Gaze(data.models[0], maps, await inflated({blob!r}), false);
const plain = row => row && [row.grid, Array.from(row.values), Array.from(row.prefix)];
return [{questions}].map(plain);
}})()"""


@pytest.fixture
def ask(chromium: Browser, tmp_path: Path) -> Callable[[VisionModel, torch.Tensor, list[str]], list[Any]]:
    """What the page's own code computes from what the page carries of a model and an image."""

    def asked(model: VisionModel, image: torch.Tensor, questions: list[str]) -> list[Any]:
        looked = watch(model, image)
        artifact = type(
            "Artifact", (), {"model": model, "preprocessor": Preprocessor(size=(32, 48)), "task": model.task}
        )
        made = Album()
        pixels = np.zeros((32, 48, 3), np.uint8)
        made.add([explain(artifact(), pixels, "a", method="rollout")], looked, "m")
        text = made.write(tmp_path).read_text()
        data = text.partition('id="data">')[2].partition("</script>")[0]
        blob = text.partition('id="gaze-0">')[2].partition("</script>")[0]
        scripts = "\n".join((SCRIPTS / name).read_text() for name in ("numbers.js", "gaze.js"))
        chromium.send("Page.navigate", url="about:blank")
        found: list[Any] = chromium.get(
            ASK.format(scripts=scripts, data=json.dumps(json.loads(data)), blob=blob, questions=", ".join(questions))
        )
        return found

    return asked


def on_pixels(row: Any) -> np.ndarray[Any, Any]:
    """Where every pixel of 32 x 48 has the value of its cell; the grids divide it."""
    (height, width), values, _ = row
    cells = np.asarray(values).reshape(height, width)
    return np.kron(cells, np.ones((32 // height, 48 // width)))


def agree(row: Any, expected: torch.Tensor) -> None:
    assert sum(row[1]) + sum(row[2]) <= 1 + 1e-4
    off = np.abs(on_pixels(row) - expected[0].numpy()).max()
    most = max(row[1] + row[2])  # the steps of a weight grow with the root of it and of the row's largest
    assert off <= 0.03 * (float(expected.max()) * most) ** 0.5


@pytest.mark.parametrize("kind", ATTENDING)
def test_every_layer_and_head_is_what_raw_attention_says(kind: str, ask: Any) -> None:
    model, image = family(kind), pictures(1)
    layers = watch(model, image).layers
    every = [(number, head) for number, layer in enumerate(layers) for head in (-1, *range(layer.layer.heads))]
    rows = ask(model, image, [f"gaze.look({number}, {head}, {{kind: 'answer'}})" for number, head in every])
    target = Target(torch.zeros(1, dtype=torch.int64))
    seen = []
    for (number, head), row in zip(every, rows, strict=True):
        layer = None if layers[number].name == "pooling head" else number
        expected = raw_attention(model, image, target, layer=layer, head=None if head < 0 else head)
        agree(row, expected)
        seen.append(expected)
    assert len({tuple(map(tuple, found[0].tolist())) for found in seen}) > 0.7 * len(seen), "they are not all alike"


@pytest.mark.parametrize("kind", ATTENDING)
def test_rollout_from_the_answer_is_the_methods(kind: str, ask: Any) -> None:
    model, image = family(kind), pictures(1)
    layers = watch(model, image).layers
    rows = ask(model, image, [f"gaze.roll({number}, {{kind: 'answer'}})" for number in range(len(layers))])
    target = Target(torch.zeros(1, dtype=torch.int64))
    for number, row in enumerate(rows):
        agree(row, rollout(model, image, target, layer=None if number == len(layers) - 1 else number))


@pytest.mark.parametrize("kind", ATTENDING)
def test_a_hovered_patch_is_the_cell_that_the_methods_are_asked_for(kind: str, ask: Any) -> None:
    model, image = family(kind), pictures(1)
    height, width = model.backbone.stages()[-1].grid
    last = len(watch(model, image).layers) - 1 - (kind == "vit_map")
    for cell in ((0, 0), (height - 1, width - 1)):
        point = f"{{kind: 'point', x: {(cell[1] + 0.5) / width}, y: {(cell[0] + 0.5) / height}}}"
        looked, rolled = ask(model, image, [f"gaze.look({last}, -1, {point})", f"gaze.roll({last}, {point})"])
        target = Target(torch.zeros(1, dtype=torch.int64), cell=cell)
        agree(looked, raw_attention(model, image, target, layer=last))
        agree(rolled, rollout(model, image, target))
