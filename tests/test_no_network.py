"""Promise 23: no network unless asked."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import no_network

WHOLE = """
import sys
import numpy as np
from PIL import Image
from vitrail.cli.main import main

small = ["--model", "vit_tiny", "--epochs", "1", "model.options.depth=1", "model.options.width=12",
         "model.options.hidden=24"]
assert main(["check", "digits"]) == 0
assert main(["train", "digits", "--out", "run", *small]) == 0
Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save("eight.png")
assert main(["predict", "run", "eight.png", "--out", "p.csv"]) == 0
assert main(["explain", "run", "eight.png", "--out", "explained"]) == 0
assert main(["evaluate", "run"]) == 0
assert main(["doctor"]) == 0
assert main(["models"]) == 0
"""
"""From data to report and on, as a user goes."""


def test_the_whole_way_works_where_there_is_no_network(tmp_path: Path) -> None:
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, from util-linux")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs leave to make a network namespace, which this machine does not give")
    reach = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e.errno)"
    alone = subprocess.run([*apart, sys.executable, "-c", reach], capture_output=True, text=True, check=True)
    assert alone.stdout == "101\n"  # the network is unreachable: the way below is walked without one
    done = subprocess.run(
        [*apart, sys.executable, "-c", WHOLE], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    for name in ("run/report.html", "run/explain.html", "p.csv", "explained/explain.html"):
        assert (tmp_path / name).is_file(), name


def test_the_suite_is_watched() -> None:
    """The watch sees a look-up, a connection and a datagram, and leaves this machine's own alone."""
    with pytest.raises(no_network.NetworkUsed):
        socket.getaddrinfo("vitrail.invalid", 80)
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        with pytest.raises(no_network.NetworkUsed):
            tcp.connect(("192.0.2.1", 80))
        with pytest.raises(no_network.NetworkUsed):
            udp.sendto(b"", ("192.0.2.1", 80))
    assert len(no_network.seen) == 3
    no_network.seen.clear()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        socket.getaddrinfo("localhost", 80)
    near, far = socket.socketpair()
    near.close()
    far.close()
    assert no_network.seen == []


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (None, True), ("", True), ("localhost", True), (b"127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("192.0.2.1", False), ("example.org", False), ("::", False), ("fe80::1%eth0", False), (b"\xff", False),
    ],
)  # fmt: skip
def test_what_counts_as_this_machine(host: str | bytes | None, local: bool) -> None:
    assert no_network.is_local(host) is local
