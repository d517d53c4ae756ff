"""What is kept of a teacher's answers: whole, by position, and given up rather than wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from pupils import STUDENTS, batch, teacher
from torch import Tensor

from vitrail.contracts import Batch, Failure
from vitrail.distill import cache as cache_module
from vitrail.distill.cache import AnswerCache, make_room, place_for
from vitrail.distill.lesson import Lesson, lesson_key
from vitrail.settings import build
from vitrail.tasks.classify import Classify

SHAPE, COUNT = (3,), 4
warned: list[str] = []


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two batches, so that a few batches need several."""
    warned.clear()
    monkeypatch.setattr(cache_module, "FILE_BYTES", 2 * COUNT * 4 * 3)


def cached(folder: Path) -> AnswerCache:
    return AnswerCache(folder, COUNT, SHAPE, warned.append, {"why": "a test"})


def said(first: int) -> Tensor:
    return torch.arange(first * 3, (first + COUNT) * 3, dtype=torch.float32).reshape(COUNT, 3)


def test_answers_come_back_to_the_bit_also_to_another_process(tmp_path: Path) -> None:
    kept = cached(tmp_path / "answers")
    for first in (0, 4, 12, 16):
        assert kept.recall(first) is None
        kept.put(first, said(first))
    assert torch.equal(kept.recall(16), said(16))  # type: ignore[arg-type]
    kept.flush()
    again = cached(tmp_path / "answers")
    for first in (16, 0, 12, 4):
        assert torch.equal(again.recall(first), said(first))  # type: ignore[arg-type]
    assert again.recall(8) is None
    assert sorted(path.name for path in (tmp_path / "answers").glob("*.answers")) == [
        "000000.answers", "000001.answers", "000002.answers",
    ]  # fmt: skip


def test_a_file_that_was_begun_is_completed_later(tmp_path: Path) -> None:
    for first in (0, 4):
        kept = cached(tmp_path / "answers")
        kept.put(first, said(first))
        kept.flush()
    again = cached(tmp_path / "answers")
    assert again.recall(0) is not None
    assert again.recall(4) is not None


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_file_is_said_anew(tmp_path: Path, damage: str) -> None:
    kept = cached(tmp_path / "answers")
    kept.put(0, said(0))
    kept.flush()
    file = tmp_path / "answers" / "000000.answers"
    raw = bytearray(file.read_bytes())
    if damage == "flip":
        raw[-5] ^= 1
    file.write_bytes({"truncate": raw[:-3], "flip": raw, "empty": b""}[damage])
    assert cached(tmp_path / "answers").recall(0) is None


def test_a_disk_that_refuses_costs_the_cache_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = cached(tmp_path / "file" / "answers")
    kept.put(0, said(0))
    kept.flush()
    assert kept.recall(0) is None
    assert len(warned) == 1
    assert "cannot be kept in" in warned[0]


def test_what_was_not_used_for_longest_gives_way(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "older", "oldest")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "0.answers").write_bytes(bytes(100))
        os.utime(folder, (1000 - age, 1000 - age))
    assert make_room(tmp_path / "mine", 150, limit=350)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["newest", "older"]
    assert not make_room(tmp_path / "mine", 351, limit=350)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["newest", "older"]


# ------------------------------------------------------------------------------------------------------ the lesson


def lesson(folder: Path | None, seed: int = 1) -> Lesson:
    say = teacher(Classify(("ant", "bee", "cat")), seed).answers(STUDENTS)
    return Lesson(say, folder and cached(folder), "fp32", warned.append)


def batches() -> list[Batch]:
    return [batch([0, 1, 2, 0], first=first, mixed=True) for first in (0, 4, 8, 12, 16)]


def test_a_second_student_asks_the_teacher_once(tmp_path: Path) -> None:
    plain = lesson(None)
    first, second = lesson(tmp_path / "answers"), lesson(tmp_path / "answers")
    told = [first(each) for each in batches()]
    first.close()
    assert first.asked == len(told)
    again = [second(each) for each in batches()]
    assert second.asked == 1
    assert all(torch.equal(a, b) and torch.equal(a, plain(c)) for a, b, c in zip(told, again, batches(), strict=True))
    assert not warned


def test_a_run_that_was_stopped_goes_on_with_what_it_kept(tmp_path: Path) -> None:
    first = lesson(tmp_path / "answers")
    for each in batches()[:2]:
        first(each)
    first.close()
    second = lesson(tmp_path / "answers")
    for each in batches()[1:]:
        second(each)
    assert second.asked == 4  # one to verify, three that are new


def test_what_another_teacher_said_is_given_up_and_made_anew(tmp_path: Path) -> None:
    first = lesson(tmp_path / "answers", seed=1)
    for each in batches():
        first(each)
    first.close()
    other = lesson(tmp_path / "answers", seed=2)
    told = [other(each) for each in batches()]
    assert other.asked == len(told)
    assert len(warned) == 1
    assert "is not what it says now" in warned[0]
    other.close()
    third = lesson(tmp_path / "answers", seed=2)
    assert all(torch.equal(third(each), mine) for each, mine in zip(batches(), told, strict=True))
    assert third.asked == 1
    assert len(warned) == 1


def test_a_batch_with_a_failure_is_neither_kept_nor_remembered(tmp_path: Path) -> None:
    failed = batch([0, 1, 2, 0], failures=(Failure("1", "cut off"),))
    first = lesson(tmp_path / "answers")
    first(failed)
    first.close()
    second = lesson(tmp_path / "answers")
    second(batch([0, 1, 2, 0]))
    second(failed)
    assert second.asked == 2


def test_a_batch_in_other_parts_is_not_mistaken(tmp_path: Path) -> None:
    made = lesson(tmp_path / "answers")
    made(batch([0, 1, 2], first=0))
    made(batch([0, 1, 2, 0], first=2))
    made.close()
    assert not list((tmp_path / "answers").glob("*.answers"))


STATED = {"data.source": "digits", "augment.mixup": 0.8, "train.batch_size": 16}


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("seed", 5, True),
        ("train.lr", 0.5, True),
        ("train.epochs", 7, True),
        ("data.workers", 3, True),
        ("data.cache_mb", 0, True),
        ("model.name", "swin_tiny", True),
        ("distill.weight", 0.9, True),
        ("task.label_smoothing", 0.3, True),
        ("data_seed", 5, False),
        ("model.image_size", 64, False),
        ("preprocess.mean", (0.4,), False),
        ("preprocess.resize", "squash", False),
        ("augment.mixup", 0.2, False),
        ("augment.flip", False, False),
        ("augment.repeats", 2, False),
        ("train.batch_size", 32, False),
        ("train.accumulate", 2, False),
        ("train.precision", "bf16", False),
        ("data.batched", True, False),
        ("device", "cuda", False),
    ],
)
def test_the_key_holds_what_an_answer_depends_on_and_nothing_more(path: str, value: object, same: bool) -> None:
    keys = [
        lesson_key(build({**STATED, **more}), "teacher", "outputs", "images", False, "1.0")
        for more in ({}, {path: value})
    ]
    assert (place_for(keys[0]) == place_for(keys[1])) == same


def test_the_key_knows_teacher_images_and_what_was_asked() -> None:
    config = build(STATED)
    given = ["teacher", "outputs", "images", False, "1.0"]
    places = {place_for(lesson_key(config, *given))}  # type: ignore[arg-type]
    for place, other in enumerate(["another", "level 2 at 4 x 4", "others", True, "1.1"]):
        places.add(place_for(lesson_key(config, *given[:place], other, *given[place + 1 :])))  # type: ignore[arg-type]
    assert len(places) == 6


def test_where_mixing_ends_the_length_of_the_run_counts() -> None:
    keys = [
        lesson_key(build({**STATED, "augment.mix_off_epochs": 2, "train.epochs": epochs}), "", "", "", False, "")
        for epochs in (10, 12)
    ]
    assert place_for(keys[0]) != place_for(keys[1])
