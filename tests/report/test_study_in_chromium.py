"""The page of a study in a real browser, as those of runs: see test_report_in_chromium."""

from __future__ import annotations

import re

import pytest
from made_studies import PARTS, made
from served import Site, browse, probe

from vitrail.report.study_page import write_study

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize("kind", PARTS)
def test_no_study_is_wider_than_a_phone_or_a_desktop(
    kind: str, chromium: str, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_study(site.folder, made(kind))
    for width in (360, 1200):
        seen = probe(chromium, site, tmp_path_factory.mktemp("profile"), width)
        assert seen["client"] == width
        assert seen["scroll"] == width, seen["wide"]
        assert seen["wide"] == []
        assert float(str(seen["smallest"])) >= 8, "figures can be read"


def test_the_browser_asks_for_the_page_alone_and_complains_of_nothing(
    chromium: str, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_study(site.folder, made("reach"))
    _, log = browse(chromium, tmp_path_factory.mktemp("profile"), f"{site.address}/report.html")
    assert site.asked == ["/report.html"]
    assert "CONSOLE" not in log


def test_dark_is_dark(chromium: str, site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    write_study(site.folder, made("cost"))
    flag = "--blink-settings=preferredColorScheme=0"
    dark = probe(chromium, site, tmp_path_factory.mktemp("profile"), 360, flag)
    assert sum(map(int, re.findall(r"\d+", str(dark["dark"])))) < 120
