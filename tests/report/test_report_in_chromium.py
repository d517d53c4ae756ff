"""The pages in a real browser: nothing asked of the network, nothing complained of, nothing wider than a phone."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_tasks import MADE, report

from vitrail.explain.profile import Profile
from vitrail.report.data import ReportData
from vitrail.report.html import write_report

pytestmark = pytest.mark.chromium

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000",
    "--enable-logging=stderr", "--hide-scrollbars",
)  # fmt: skip

PROBE = """<!doctype html><title>waiting</title>
<iframe id="page" src="report.html" style="width:{width}px;height:800px;border:0"></iframe>
<script>
document.getElementById("page").onload = event => {{
  const inside = event.target.contentDocument, root = inside.documentElement;
  const wide = [...inside.querySelectorAll("body *")].filter(element =>
    element.getBoundingClientRect().right > root.clientWidth + 1 && !element.closest(".scroll, pre, svg"));
  document.title = JSON.stringify({{
    client: root.clientWidth, scroll: root.scrollWidth,
    wide: wide.slice(0, 5).map(element => element.outerHTML.slice(0, 120)),
    broken: [...inside.images].filter(image => !(image.complete && image.naturalWidth)).length,
    smallest: Math.min(...[...inside.querySelectorAll("svg text")].map(text => text.getBoundingClientRect().height)),
    dark: inside.defaultView.getComputedStyle(inside.body).backgroundColor,
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs a Chromium browser, and there is none on this machine")
    return found


class Site:
    """A folder over HTTP on this machine, and the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def log_message(self, *args: object) -> None:
                site.asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site."""
    made = Site(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def browse(chromium: str, profile: Path, address: str, *flags: str) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def probe(chromium: str, site: Site, profile: Path, width: int, *flags: str) -> dict[str, object]:
    (site.folder / "probe.html").write_text(PROBE.format(width=width))
    document, _ = browse(chromium, profile, f"{site.address}/probe.html", *flags)
    title = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert title
    measured: dict[str, object] = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return measured


@pytest.mark.parametrize("classes", [2, 24, 50])
def test_nothing_is_wider_than_a_phone_or_a_desktop(
    classes: int,
    chromium: str,
    site: Site,
    make_run: Callable[..., ReportData],
    inside: Profile,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    names = [f"a_rather_long_class_name_{n}" for n in range(classes)]
    write_report(site.folder, make_run(names, images=300, profile=inside))
    for width in (380, 1200):
        seen = probe(chromium, site, tmp_path_factory.mktemp("profile"), width)
        assert seen["client"] == width
        assert seen["scroll"] == width, seen["wide"]
        assert seen["wide"] == []
        assert seen["broken"] == 0
        assert float(str(seen["smallest"])) >= 8, "figures can be read"


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("multilabel", {"labels": tuple(f"a_rather_long_label_{n}" for n in range(30))}),
        ("regress", {"targets": 2, "loss": "nll"}),
        ("segment", {"labels": tuple(f"a_rather_long_class_{n}" for n in range(12))}),
        ("depth", {"maps": 2}),
    ],
)
def test_no_tasks_page_is_wider_than_a_phone_or_a_desktop(
    task: str, options: dict[str, Any], chromium: str, site: Site, run_data: ReportData,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    write_report(site.folder, report(run_data, *MADE[task](**options)))
    for width in (380, 1200):
        seen = probe(chromium, site, tmp_path_factory.mktemp("profile"), width)
        assert seen["scroll"] == width, seen["wide"]
        assert seen["wide"] == []
        assert seen["broken"] == 0
        assert float(str(seen["smallest"])) >= 8, "figures can be read"


def test_the_browser_asks_for_the_page_alone_and_complains_of_nothing(
    chromium: str, site: Site, run_data: ReportData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_report(site.folder, run_data)
    _, log = browse(chromium, tmp_path_factory.mktemp("profile"), f"{site.address}/report.html")
    assert site.asked == ["/report.html"]
    assert "CONSOLE" not in log


def test_the_complaint_would_have_been_seen(
    chromium: str, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The negative control: a page that asks for a picture and breaks its own policy is caught by the same means."""
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    (site.folder / "report.html").write_text(f"{policy}<img src='more.png'><script>alert(1)</script>")
    _, log = browse(chromium, tmp_path_factory.mktemp("profile"), f"{site.address}/report.html")
    assert "/more.png" in site.asked
    assert "CONSOLE" in log


def test_dark_is_dark(
    chromium: str, site: Site, run_data: ReportData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_report(site.folder, run_data)
    light = probe(chromium, site, tmp_path_factory.mktemp("profile"), 380)
    dark = probe(chromium, site, tmp_path_factory.mktemp("profile"), 380, "--blink-settings=preferredColorScheme=0")
    level = {name: sum(map(int, re.findall(r"\d+", str(seen["dark"])))) for name, seen in (("l", light), ("d", dark))}
    assert level["l"] > 700
    assert level["d"] < 120
