"""check.html in a real browser: no wider than a phone, every picture there, dark where that is wished for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.cli.main import main

pytestmark = pytest.mark.chromium

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--hide-scrollbars", "--virtual-time-budget=4000")  # fmt: skip

PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter(element =>
    element.getBoundingClientRect().right > root.clientWidth + 1 && !element.closest(".scroll, pre"));
  document.title = JSON.stringify({client: root.clientWidth, scroll: root.scrollWidth, images: document.images.length,
    wide: wide.slice(0, 3).map(element => element.outerHTML.slice(0, 100)),
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    ground: getComputedStyle(document.body).backgroundColor});
});</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a folder with long names and many faults, with the probe and without the policy against scripts."""
    folder = tmp_path_factory.mktemp("check")
    draws = np.random.default_rng(0)
    for name in ("a_class_with_a_rather_long_name_indeed", "A-class-with-a-rather-long-name-indeed", "x" * 60):
        (folder / "p" / name).mkdir(parents=True)
        for i in range(11):
            pixels = draws.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((300, 40) if i == 10 else (60, 40), Image.Resampling.BICUBIC)
            picture.save(folder / "p" / name / f"a_file_with_a_name_that_goes_on_and_on_{i}.png")
            if i < 3:
                for other in "bcdef"[: i + 1]:
                    picture.save(folder / "p" / name / f"{other}{i}.jpg")
        (folder / "p" / name / "bad.png").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRAIL_CACHE", str(folder / "cache"))
        assert main(["check", str(folder / "p"), "--out", str(folder / "found")]) == 3
    html = (folder / "found" / "check.html").read_text()
    probed = re.sub(r"<meta http-equiv=.*?>", "", html).replace("</body>", PROBE + "</body>")
    assert probed.count("<script>") == 1
    (folder / "probed.html").write_text(probed)
    return folder / "probed.html"


def measured(page: Path, width: int, profile: Path, *flags: str) -> dict[str, Any]:
    """What the probe sees in a frame of this width."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs a Chromium browser, and there is none on this machine")
    told = "onload = () => setTimeout(() => document.title = frames[0].document.title, 500)"
    frame = page.with_name(f"frame{width}.html")
    frame.write_text(
        f"<title>waiting</title><script>{told}</script>"
        f'<iframe src="{page.name}" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    command = [browser, *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={profile}", *flags, "--dump-dom"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stdout[:500]
    answer: dict[str, Any] = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return answer


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_window_and_every_picture_is_there(width: int, page: Path, tmp_path: Path) -> None:
    seen = measured(page, width, tmp_path)
    assert seen["client"] == seen["scroll"] == width, seen["wide"]
    assert seen["wide"] == []
    assert seen["images"] > 10
    assert seen["broken"] == 0


def test_dark_is_dark(page: Path, tmp_path: Path) -> None:
    seen = measured(page, 390, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert sum(map(int, re.findall(r"\d+", seen["ground"]))) < 120
