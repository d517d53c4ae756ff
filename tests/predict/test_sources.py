"""From the words of a command line to inputs."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.contracts import Failure
from vitrail.predict.sources import expand


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.jpg", "a/2.PNG", "a/1.jpg", "a.jpg", "a/deep/er/x.webp", "notes.txt", ".hidden.jpg", ".git/y.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_a_folder_is_its_images_to_any_depth_sorted(photos: Path) -> None:
    assert list(expand(["photos"])) == [
        "photos/a.jpg", "photos/a/1.jpg", "photos/a/2.PNG", "photos/a/deep/er/x.webp", "photos/b.jpg",
    ]  # fmt: skip


def test_the_order_given_is_kept_and_so_are_repeats(photos: Path) -> None:
    assert list(expand(["photos/b.jpg", "photos/a.jpg", "photos/b.jpg"])) == [
        "photos/b.jpg", "photos/a.jpg", "photos/b.jpg",
    ]  # fmt: skip


def test_a_file_that_is_named_is_taken_whatever_its_name(photos: Path) -> None:
    assert list(expand(["photos/notes.txt"])) == ["photos/notes.txt"]


def test_patterns_match_files_and_folders(photos: Path) -> None:
    assert list(expand(["photos/*.jpg"])) == ["photos/a.jpg", "photos/b.jpg"]
    assert list(expand(["photos/**/*.jpg"])) == ["photos/a.jpg", "photos/a/1.jpg", "photos/b.jpg"]
    assert list(expand(["photos/a*"]))[:2] == ["photos/a.jpg", "photos/a/1.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(photos: Path) -> None:
    (photos / "a[1].jpg").touch()
    (photos / "a1.jpg").touch()
    assert list(expand(["photos/a[1].jpg"])) == ["photos/a[1].jpg"]


def test_every_word_leads_to_something(photos: Path) -> None:
    (photos / "empty").mkdir()
    assert list(expand(["absent.jpg", "x*.jpg", "photos/empty"])) == [
        "absent.jpg", Failure("x*.jpg", "no file matches"), Failure("photos/empty", "a folder without images"),
    ]  # fmt: skip


def test_links_are_followed_but_not_in_circles(photos: Path) -> None:
    (photos / "a" / "up").symlink_to(photos, target_is_directory=True)
    (photos / "again").symlink_to(photos / "a", target_is_directory=True)
    found = list(expand(["photos"]))
    assert "photos/again/1.jpg" in found
    assert len(found) == 8


def test_nothing_is_looked_for_before_it_is_needed() -> None:
    endless = (f"{number}.jpg" for number in itertools.count())
    assert list(itertools.islice(expand(endless), 2)) == ["0.jpg", "1.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_failure(photos: Path) -> None:
    (photos / "a").chmod(0)
    try:
        assert Failure("photos/a", "cannot be listed: permission denied") in list(expand(["photos"]))
    finally:
        (photos / "a").chmod(0o755)


@given(
    st.sets(st.lists(st.sampled_from(["a", "a.b", "a-", "b", "ü"]), min_size=1, max_size=3).map("/".join), max_size=8)
)
def test_a_walk_is_in_the_order_of_the_paths(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = tmp_path_factory.mktemp("walk")
    for name in names:
        (root / f"{name}.d").mkdir(parents=True, exist_ok=True)
        (root / f"{name}.jpg").touch()
        (root / f"{name}.d" / "x.png").touch()
    found = list(expand([str(root)]))
    assert found == sorted(str(path) for path in root.rglob("*") if path.is_file()) or found[0] == Failure(
        str(root), "a folder without images"
    )
