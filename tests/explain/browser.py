"""A headless Chromium, driven through its DevTools protocol over two pipes: real mouse, touch and keys, no library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0
"""Seconds to wait for what must come."""


def find_chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. complaints: what its console, its scripts and its policy said.  asked: every address it asked for."""

    def __init__(self, path: str, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # the protocol is spoken on descriptors 3 and 4, whatever numbers the pipes got here
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, ""
        self.complaints: list[str] = []
        self.asked: list[str] = []
        pages = self.send("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in pages if info["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.send("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command and its result; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            got = os.read(self._read, 1 << 20)
            if not got:
                raise RuntimeError("the browser has ended")
            self._buffer += got
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(told["args"]))
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.complaints.append(str(told["entry"]))
        elif event == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self.asked.append(told["request"]["url"])

    # ------------------------------------------------------------------------------------------------------- the page

    def size(self, width: int, height: int, touch: bool = False, scale: float = 1) -> None:
        """A window of so many CSS pixels; with `touch`, a phone's."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def dark(self, dark: bool) -> None:
        """As the reader's system is set."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def open(self, page: Path, ready: str = "true") -> None:
        """Go to a file and wait until `ready`."""
        self.send("Page.navigate", url=page.as_uri())
        self.until(f"location.href === {page.as_uri()!r} && document.readyState === 'complete' && {ready}")

    def until(self, expression: str) -> None:
        """Wait for an expression to be true."""
        until = time.monotonic() + PATIENCE
        while not self.get(expression):
            if time.monotonic() > until:
                raise TimeoutError(f"{expression} did not come true; complaints: {self.complaints}")
            time.sleep(0.02)

    def get(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.get("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """Where a part of an element is in the window, once scrolled to."""
        self.get(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest', behavior: 'instant'}})")
        left, top, width, height = self.get(
            f"(r => [r.left, r.top, r.width, r.height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return left + x * width, top + y * height

    def hover(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """The mouse over a part of an element."""
        across, down = self.place(selector, x, y)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=across, y=down)
        self.settle()

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """The mouse's left button on a part of an element."""
        across, down = self.place(selector, x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=across, y=down, button="left", clickCount=1)
        self.settle()

    def tap(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """A finger on a part of an element."""
        across, down = self.place(selector, x, y)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": across, "y": down}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def press(self, key: str, shift: bool = False) -> None:
        """A key, by its DevTools name ("ArrowLeft", "Tab", "l")."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Escape": 27, "Enter": 13}
        more = {"windowsVirtualKeyCode": codes[key]} if key in codes else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=8 if shift else 0, **more)
        self.settle()

    def screenshot(self, path: Path, full: bool = False) -> Path:
        """A picture of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=full, **self._clip(full))
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _clip(self, full: bool) -> dict[str, Any]:
        if not full:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
