"""The pages in a real browser: nothing asked of the network, nothing complained of, nothing wider than a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from made_tasks import MADE, report
from served import Site, browse, probe

from vitrail.explain.profile import Profile
from vitrail.report.data import ReportData
from vitrail.report.html import write_report

pytestmark = pytest.mark.chromium


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
