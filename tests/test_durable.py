"""Folders that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail import durable
from vitrail.errors import IntegrityError


def _fill(text: str):
    def fill(folder: Path) -> None:
        (folder / "a.txt").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b.bin").write_bytes(text.encode() * 3)

    return fill


def test_a_committed_folder_verifies_and_can_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    durable.commit(folder, _fill("one"))
    durable.verify(folder)
    durable.commit(folder, _fill("two"))
    durable.verify(folder)
    assert (folder / "a.txt").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no manifest", "bad manifest", "list manifest"])
def test_every_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "x"
    durable.commit(folder, _fill("content"))
    victim = folder / "sub" / "b.bin"
    if damage == "flip":
        raw = bytearray(victim.read_bytes())
        raw[5] ^= 1
        victim.write_bytes(raw)
    elif damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "delete":
        victim.unlink()
    elif damage == "no manifest":
        (folder / durable.MANIFEST).unlink()
    else:
        (folder / durable.MANIFEST).write_text("{" if damage == "bad manifest" else "[1]")
    with pytest.raises(IntegrityError, match="MANIFEST" if "manifest" in damage else r"b\.bin"):
        durable.verify(folder)


def test_a_failure_while_filling_leaves_the_old_folder_and_no_temporary(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    durable.commit(folder, _fill("old"))

    def fail(temporary: Path) -> None:
        (temporary / "a.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        durable.commit(folder, fail)
    durable.verify(folder)
    assert (folder / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_stop_between_any_two_steps_leaves_a_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system call of a commit is, in turn, the last one that happens; a fresh process then looks."""

    class Stop(BaseException):
        pass

    calls = ["mkdir", "rename", "replace", "unlink", "chmod"]
    stopped_at = 0
    while True:
        folder = tmp_path / str(stopped_at) / "x"
        folder.parent.mkdir()
        durable.commit(folder, _fill("old"))
        seen = 0

        def counted(name: str, real, limit: int = stopped_at):
            def call(*args, **kwargs):
                nonlocal seen
                seen += 1
                if seen > limit:
                    raise Stop(name)
                return real(*args, **kwargs)

            return call

        finished = False
        with monkeypatch.context() as patched:
            for name in calls:
                patched.setattr(Path, name, counted(name, getattr(Path, name)))
            patched.setattr(os, "fsync", counted("fsync", os.fsync))
            patched.setattr(durable.shutil, "rmtree", counted("rmtree", durable.shutil.rmtree))
            try:
                durable.commit(folder, _fill("new"))
                finished = True
            except Stop:
                pass
        durable.sweep(folder.parent)
        durable.verify(folder)
        assert (folder / "a.txt").read_text() in {"old", "new"}
        assert [p.name for p in folder.parent.iterdir()] == ["x"]
        if finished:
            assert (folder / "a.txt").read_text() == "new"
            break
        stopped_at += 1
    assert stopped_at > 10, "the commit was expected to have more steps than that"


def test_write_file_replaces_or_keeps(tmp_path: Path) -> None:
    path = tmp_path / "f"
    durable.write_file(path, "one")
    tmp_path.chmod(0o700)
    with pytest.raises(TypeError):
        durable.write_file(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@given(st.binary(max_size=200))
def test_no_manifest_makes_verify_crash(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("m")
    (folder / durable.MANIFEST).write_bytes(raw)
    with pytest.raises(IntegrityError):
        durable.verify(folder)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / durable.MANIFEST).write_text('{"files": {"../secret": {"size": 1, "blake2b": ""}}}')
    with pytest.raises(IntegrityError, match="outside"):
        durable.verify(folder)


def test_a_reader_finds_what_stands_at_every_moment_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "x"
    durable.commit(folder, _fill("one"))
    renames: list[str] = []
    rename = Path.rename

    def looked(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        renames.append((durable.standing(folder) / "a.txt").read_text())
        return moved

    monkeypatch.setattr(Path, "rename", looked)
    durable.commit(folder, _fill("two"))
    assert renames == ["one", "two"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert durable.standing(Path(".")) == Path(".")


def test_arrays_come_back_and_nothing_else_is_taken_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    durable.write_arrays(path, {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["é", "b"])})
    back = durable.read_arrays(path)
    assert back["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["names"].tolist() == ["é", "b"]
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no archive of arrays"):
            durable.read_arrays(path)
    np.savez(path, allow_pickle=True, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="no archive of arrays"):
        durable.read_arrays(path)
    with pytest.raises(OSError, match="absent"):
        durable.read_arrays(tmp_path / "absent.npz")
