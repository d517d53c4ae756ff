"""A file system that fills up in mid-run: said, exit 4, and nothing that was good is lost. The real thing, on a tmpfs.

(A limit on file sizes and a folder that may not be written are tried beside this, in test_training and test_folder.)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FULL = """
import contextlib, io, json, sys
from pathlib import Path
from vitrail import durable
from vitrail.cli.main import main
from vitrail.training.checkpoint import newest_good

disk, filler, fill_at = Path("disk"), Path("disk/filler"), int(sys.argv[1])
real, calls = durable.os.fsync, 0

def fsync(handle):
    global calls
    calls += 1
    if calls == fill_at:  # whatever else is on the disk takes the rest of it
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
    real(handle)

durable.os.fsync = fsync
said = io.StringIO()
with contextlib.redirect_stderr(said):
    code = main(["train", "digits", "--out", "disk/run", "--epochs", "6", "model.options.depth=1",
                 "model.options.width=12", "model.options.hidden=12"])
try:
    good, faults = newest_good(disk / "run" / "checkpoints")
except Exception as error:
    good, faults = None, [repr(error)]
temporary = [str(path) for path in disk.rglob("*") if ".tmp" in path.name]
filler.unlink(missing_ok=True)
with contextlib.redirect_stdout(sys.stderr):
    again = main(["train", "--resume", "disk/run"])
print(json.dumps({"code": code, "said": said.getvalue(), "good": str(good), "faults": faults, "temporary": temporary,
                  "again": again, "calls": calls}))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """Words before a command that give it a file system of 12 MB of its own, as `disk` in its working folder."""
    (tmp_path / "disk").mkdir()
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    words = [*apart, "sh", "-c", 'mount -t tmpfs -o size=12m tmpfs disk && exec "$@"', "sh"]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, from util-linux")
    if subprocess.run([*words, "true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount a tmpfs, which this machine does not give")
    return words


@pytest.mark.parametrize("moment", [60, 64])
def test_a_disk_that_fills_up_in_mid_run(moment: int, small_disk: list[str], tmp_path: Path) -> None:
    words = [*small_disk, sys.executable, "-c", FULL, str(moment)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["code"] == 4
    message = found["said"][found["said"].index("vitrail train: ") :].splitlines()
    assert message == [
        "vitrail train: cannot write to disk/run: the disk is full: free some space",
        "Then go on with: vitrail train --resume disk/run",
    ]
    assert "Traceback" not in found["said"]
    assert found["good"].startswith("disk/run/checkpoints/step-")
    assert (found["faults"], found["temporary"]) == ([], [])
    assert found["again"] == 0  # once there is room, it goes on to the end
