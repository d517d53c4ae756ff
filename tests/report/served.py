"""The pages in a real browser: the means by which tests see what it asks for, complains of and lays out."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

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


def find_chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


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
