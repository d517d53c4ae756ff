"""The scan before training: every file judged, whatever it does to its decoder; and what is said of the whole."""

from __future__ import annotations

import csv
import functools
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_zoo import BAD, Files, good, mixed_photos, photo, save

from vitrail.contracts import Failure, FileSource, Hints, Item, Pixels, Source
from vitrail.data import scan_files, scan_pool
from vitrail.data.audit import Audit, duplicates, refuse_if_too_bad, scan, spanning, summary, write_bad_files
from vitrail.data.facts import digest, remarks
from vitrail.data.scan_pool import examine_files
from vitrail.data.scan_worker import Limits
from vitrail.errors import BadImage, DataError
from vitrail.settings import DataConfig

CONFIG = DataConfig(source="photos")


def failed(audit: Audit) -> dict[str, str]:
    return {failure.key: failure.reason for failure in audit.bad}


def odd(audit: Audit) -> dict[str, str]:
    return {failure.key: failure.reason for failure in audit.odd}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of every accepted kind, with two copies of one and some that cannot be used."""
    return mixed_photos(tmp_path / "photos")


# -------------------------------------------------------------------------------------------------------- every file


def test_every_file_is_judged_and_the_counts_add_up(photos: Path) -> None:
    source = Files(photos)
    audit = scan(source, CONFIG)
    assert failed(audit) == BAD
    assert audit.found == len(source.items) == len(audit.usable) + len(audit.bad)
    assert len(audit.sizes) == len(audit.formats) == len(audit.usable)
    for index, size in zip(audit.usable, audit.sizes, strict=True):
        height, width, _ = source.read(index, 3).shape
        assert size == (width, height)
        assert audit.content[index] == digest(source.content(index))
    assert [audit.content[i] for i in range(audit.found) if i not in audit.usable] == [""] * len(BAD)


def test_workers_change_nothing_and_progress_reaches_the_end(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audits = []
    for workers in (1, 3):
        monkeypatch.setenv("VITRAIL_CACHE", str(photos.parent / f"cache{workers}"))
        seen: list[tuple[int, int]] = []
        audits.append(scan(Files(photos), CONFIG, lambda done, total, seen=seen: seen.append((done, total)), workers))
        assert seen == [(done, audits[0].found) for done in range(audits[0].found + 1)]
    assert audits[0] == audits[1]


def test_what_is_noteworthy_is_said(tmp_path: Path) -> None:
    (tmp_path / "really.jpg").write_bytes(good()["rgb.png"])
    (tmp_path / "strip.png").write_bytes(save(photo(10, 100), "PNG"))
    (tmp_path / "dot.png").write_bytes(save(photo(7, 20), "PNG"))
    (tmp_path / "flat.png").write_bytes(save(np.full((20, 20, 3), 9, np.uint8), "PNG"))
    (tmp_path / "twelve_bits.png").write_bytes(save(photo()[..., 0].astype(np.uint16) * 16, "PNG"))
    (tmp_path / "fine.png").write_bytes(save(photo(10, 99), "PNG"))
    assert odd(scan(Files(tmp_path), CONFIG)) == {
        "really.jpg": "named .jpg but its content is PNG",
        "strip.png": "extreme shape: 100 x 10 pixels",
        "dot.png": "tiny: 20 x 7 pixels",
        "flat.png": "a single colour",
        "twelve_bits.png": "nearly black: it uses less than an eighth of its 16-bit range",
    }


def test_a_decoder_that_only_prints_its_complaint_is_heard(tmp_path: Path) -> None:
    raw = bytearray(good()["fax.tif"])
    raw[53:57] = b"\x00\x00\x00\x01"  # in the middle of the picture: no fax code is so long
    (tmp_path / "fax.tif").write_bytes(raw)
    assert "the decoder remarked: Fax4Decode" in odd(scan(Files(tmp_path), CONFIG))["fax.tif"]


def test_a_single_different_pixel_is_no_single_colour() -> None:
    for at in (0, 1, 99):
        pixels = np.zeros((10, 10, 3), np.uint8)
        pixels[at // 10, at % 10, 2] = 1
        assert remarks(pixels) == []


class Drawn:
    """A source without files; sample 2 cannot be read."""

    name = location = "drawn"
    hints = Hints()

    @property
    def items(self) -> list[Item]:
        return [Item(f"drawn/{i}", "x") for i in range(4)]

    def read(self, index: int, channels: int) -> Pixels:
        if index == 2:
            raise BadImage("the pen broke")
        return np.full((8, 9, channels), index // 3, np.uint8)

    def content(self, index: int) -> bytes:
        return self.read(index, 1).tobytes()


def test_sources_without_files_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_files, "examine_files", lambda *_: pytest.fail("no process is needed"))
    source: Source = Drawn()
    assert not isinstance(source, FileSource)
    audit = scan(source, CONFIG)
    assert failed(audit) == {"drawn/2": "the pen broke"}
    assert audit.usable == (0, 1, 3)
    assert audit.sizes == ((9, 8),) * 3
    assert duplicates(audit) == ((0, 1),)


# ----------------------------------------------------------------------------------------- decoders that do not behave

HOSTILE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from vitrail.data import scan_worker
from vitrail.data.facts import examine_file

def examine(path, channels, max_pixels):
    Path(__file__).with_name("pids").open("a").write(f"{os.getpid()}\\n")
    kind = path.stem
    if kind == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "once" and not path.with_name("crashed").exists():
        path.with_name("crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while kind == "spin":
        pass
    if kind == "sleep":
        time.sleep(60)
    if kind == "eat":
        hoard = [np.ones(2**20) for _ in range(10**6)]
    print("a decoder that prints")
    return examine_file(path, channels, max_pixels)

scan_worker.serve(examine)
"""

TIGHT = Limits(channels=3, max_pixels=10**6, seconds=1, memory=64 * 2**20)


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    return (sys.executable, str(tmp_path / "hostile.py"))


def make(folder: Path, *names: str) -> list[tuple[int, Path]]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(good()["rgb.png"])
    return [(index, folder / f"{name}.png") for index, name in enumerate(names)]


def alive(folder: Path) -> list[int]:
    """The children that wrote down their number and still run."""
    return [pid for pid in set(map(int, (folder / "pids").read_text().split())) if Path(f"/proc/{pid}").exists()]


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("segv", "crashes its decoder (SIGSEGV)"),
        ("exit", "crashes its decoder (exit code 3)"),
        ("spin", "takes more than 1 s of processor time to decode"),
        ("sleep", "did not decode in 2 s"),
        ("eat", "needs more than 64 MB of memory to decode"),
    ],
)
def test_a_decoder_that_misbehaves_costs_its_file_alone(
    kind: str, expected: str, tmp_path: Path, hostile: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_pool, "_PATIENCE", 2 if kind == "sleep" else 60)
    files = make(tmp_path / "files", "before", kind, "after")
    facts = dict(examine_files(files, TIGHT, 1, hostile))
    assert facts[1].reason == expected
    assert facts[0] == facts[2]
    assert not facts[0].reason
    assert facts[1].lasting == (kind != "sleep")  # slowness may be the disk's, so it is asked again next time
    assert alive(tmp_path) == []


def test_a_crash_that_does_not_repeat_is_not_blamed_on_the_file(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    facts = dict(examine_files(make(tmp_path / "files", "once", "fine"), TIGHT, 1, hostile))
    assert (tmp_path / "files" / "crashed").exists()
    assert facts[0] == facts[1]
    assert not facts[0].reason


def test_many_misbehaving_files_among_several_workers(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    names = ["segv", "a", "exit", "b", "eat", "c", "d", "once"]
    facts = dict(examine_files(make(tmp_path / "files", *names), TIGHT, 3, hostile))
    assert [i for i, name in enumerate(names) if facts[i].reason] == [0, 2, 4]


def test_leaving_the_scan_leaves_no_process(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    answers = examine_files(make(tmp_path / "files", "a", "sleep", "b", "sleep2"), TIGHT, 2, hostile)
    next(answers)
    answers.close()
    assert alive(tmp_path) == []


def test_an_interrupt_leaves_no_process_and_keeps_what_was_learnt(
    photos: Path, tmp_path: Path, hostile: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_files, "examine_files", functools.partial(examine_files, command=hostile))

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(Files(photos), CONFIG, interrupt, workers=2)
    assert alive(tmp_path) == []
    seen: list[int] = []
    monkeypatch.undo()
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    scan(Files(photos), CONFIG, lambda done, total: seen.append(done))
    assert seen[0] == 5


def test_children_end_when_their_parent_is_killed(tmp_path: Path, hostile: tuple[str, ...]) -> None:
    make(tmp_path / "files", "spin", "sleep", "a")
    script = f"""
        from pathlib import Path
        from vitrail.data.scan_pool import examine_files
        from vitrail.data.scan_worker import Limits
        files = [(i, Path({str(tmp_path / "files")!r}) / n) for i, n in enumerate(["a.png", "spin.png"])]
        list(examine_files(files, Limits(3, 10**6, 1, 2**26), 1, {hostile!r}))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    assert eventually(lambda: (tmp_path / "pids").exists() and bool(alive(tmp_path)))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert eventually(lambda: not alive(tmp_path))


def test_a_child_that_cannot_start_is_our_fault_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="could not be started: nothing works"):
        list(examine_files(make(tmp_path, "a"), TIGHT, 1, (sys.executable, "-c", "raise SystemExit('nothing works')")))


def test_a_plain_script_may_scan_from_any_folder(photos: Path, tmp_path: Path) -> None:
    """No `if __name__ == "__main__"`, and a module of the standard library's name in the working folder."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "json.py").write_text("raise SystemExit('taken from the working folder')")
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom image_zoo import Files\nfrom vitrail.data.audit import scan\n"
        "from vitrail.settings import DataConfig\n"
        f"audit = scan(Files(Path({str(photos)!r})), DataConfig(source='x'), workers=2)\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
        "print(len(audit.bad))\n"
    )
    ran = subprocess.run([sys.executable, str(script)], cwd=work, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("3\n", "")


def test_the_child_loads_no_torch_and_no_pydantic() -> None:
    code = "import sys, vitrail.data.scan_worker; assert not {'torch', 'torchvision', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_large_honest_image_keeps_the_limits(tmp_path: Path) -> None:
    """WebP's decoder is the hungriest by the pixel."""
    (tmp_path / "large.webp").write_bytes(save(np.zeros((4000, 5000, 3), np.uint8), "WEBP", quality=10, method=0))
    audit = scan(Files(tmp_path), CONFIG.model_copy(update={"max_pixels": 20_000_000}))
    assert audit.sizes == ((5000, 4000),)


# ---------------------------------------------------------------------------------------------------- saying it all


def audit_of(content: list[str], bad_reason: str = "empty file", ignored: tuple[Failure, ...] = ()) -> Audit:
    """An audit of samples with these content hashes, "" being bad."""
    usable = tuple(i for i, hashed in enumerate(content) if hashed)
    bad = tuple(Failure(f"{i}.png", bad_reason) for i, hashed in enumerate(content) if not hashed)
    sizes = tuple((10 + i, 20) for i in usable)
    return Audit(len(content), usable, bad, (), ignored, sizes, ("PNG",) * len(usable), tuple(content))


def test_too_many_bad_files_stop_the_run_and_name_the_option() -> None:
    refuse_if_too_bad(audit_of(["a"] * 99 + [""]), 0.01)  # exactly the limit is allowed
    with pytest.raises(DataError) as caught:
        refuse_if_too_bad(audit_of(["a"] * 96 + [""] * 4), 0.01)
    message = str(caught.value)
    assert message.startswith("4 of 100 images (4.0%) cannot be used, more than the 1.0% allowed: 96.png: empty file;")
    assert "and 1 more" in message
    assert message.endswith("data.max_bad_fraction=0.05.")
    assert len(message.splitlines()) == 2
    refuse_if_too_bad(audit_of(["a"] * 96 + [""] * 4), 0.05)


def test_nothing_usable_stops_the_run_whatever_the_limit() -> None:
    with pytest.raises(DataError, match=r"none of the 2 images can be used: 0\.png: empty file"):
        refuse_if_too_bad(audit_of(["", ""]), 1.0)


def test_bad_files_are_written_as_csv(tmp_path: Path) -> None:
    names = ["plain.png", 'with "quotes", commas.png', "line\nbreak.png", "Ünïcode 图.png"]
    bad = tuple(Failure(name, "damaged: a, b") for name in names)
    write_bad_files(tmp_path / "bad.csv", Audit(4, (), bad, (), (), (), (), ("",) * 4))
    with (tmp_path / "bad.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"path": name, "reason": "damaged: a, b"} for name in names]
    write_bad_files(tmp_path / "none.csv", audit_of(["a"]))
    assert (tmp_path / "none.csv").read_text() == "path,reason\n"


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=30))
def test_duplicates_are_all_the_samples_of_equal_content(content: list[str]) -> None:
    groups = duplicates(audit_of(content))
    for group in groups:
        assert len(group) == content.count(content[group[0]]) > 1
        assert {content[i] for i in group} == {content[group[0]]} != {""}
    assert len(groups) == sum(content.count(letter) > 1 for letter in "abc")


def test_groups_that_span_labels_are_found() -> None:
    assert spanning(((0, 1), (2, 3)), ["cat", "dog", "cat", "cat"]) == ((0, 1),)


class Split(Drawn):
    """Samples of given classes and splits."""

    def __init__(self, classes: list[Any], splits: list[Any]) -> None:
        self._items = [Item(f"{i}.png", c, s) for i, (c, s) in enumerate(zip(classes, splits, strict=True))]

    @property
    def items(self) -> list[Item]:
        return self._items


@given(st.data())
def test_the_summary_adds_up_and_is_json(data: st.DataObject) -> None:
    content = data.draw(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=20))
    n = len(content)
    classes = data.draw(st.lists(st.sampled_from(["cat", "dog", "eel"]), min_size=n, max_size=n))
    splits = data.draw(st.lists(st.sampled_from(["train", "val", None]), min_size=n, max_size=n))
    audit = audit_of(content, "declares 9 x 9 pixels", (Failure("notes.txt", "not an image file"),))
    told = summary(audit, Split(classes, splits))
    assert json.loads(json.dumps(told)) == told
    assert told["found"] == told["usable"] + told["bad"] == n
    assert told["ignored"] == len(told["ignored_files"]) == 1
    assert told["bad"] == len(told["bad_files"]) == sum(told["bad_reasons"].values())
    assert set(told["bad_reasons"]) <= {"too many pixels"}
    assert sum(told["formats"].values()) == told["usable"]
    for name in ("classes", *(["splits"] if any(splits) else [])):
        assert sum(part["usable"] for part in told[name].values()) == told["usable"]
        assert sum(part["bad"] for part in told[name].values()) == told["bad"]
    assert told["duplicates"]["extra"] == told["usable"] - len(set(content) - {""})


def test_the_summary_tells_duplicates_across_classes_and_splits() -> None:
    source = Split(["cat", "dog", "cat", "cat", "eel"], ["train", "train", "train", "test", "test"])
    told = summary(audit_of(["a", "a", "b", "b", "c"]), source)["duplicates"]
    assert told == {
        "groups": 2,
        "extra": 2,
        "across_classes": 1,
        "across_splits": 1,
        "files": [["0.png", "1.png"], ["2.png", "3.png"]],
    }


def test_targets_that_are_no_class_names_are_not_counted_as_classes() -> None:
    assert "classes" not in summary(audit_of(["a", "b"]), Split([0.5, 1.5], [None, None]))


@pytest.mark.data
def test_every_malformed_file_gets_its_verdict(shared_data: Path) -> None:
    source = Files(shared_data / "malformed_mini")
    begun = time.monotonic()
    audit = scan(source, CONFIG, workers=2)
    assert time.monotonic() - begun < 60
    assert audit.found == len(source.items) >= 322
    assert len(audit.usable) > 220
    told = failed(audit)
    assert told["pillow/truncated_jpeg.jpg"] == "truncated: the file ends before the image does"
    assert told["pillow/decompression_bomb.gif"].startswith("declares 65535 x 66601 pixels")
    assert told["pillow/decompression_bomb.ico"].startswith("format ICO is not accepted")
    assert told["pillow/dispose_bgnd_rgba.gif"] == "animated: a sample must be one image"
    assert told["pngsuite/PngSuite.README"] == "not an image: a text file"
    for key, reason in told.items():
        assert 8 < len(reason) < 130, key
        assert "crashes" not in reason, key
