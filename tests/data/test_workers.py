"""Worker processes: their errors arrive in words, and none outlives what it works for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vitrail.data.workers import Pipeline
from vitrail.errors import DataError, TrainingError, UsageError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3] if Path("/proc").exists() else True


def wait_until(done: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


def pid_and_square(number: int) -> tuple[int, int]:
    return os.getpid(), number * number


def fail_at_3(number: int) -> int:
    if number == 3:
        raise DataError("row 3 is wrong")
    return number


def bug_at_3(number: int) -> int:
    return number // (number - 3)


def die_at_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def survive_ctrl_c(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    return number


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_answers_come_in_the_order_of_the_requests(workers: int) -> None:
    pipeline = Pipeline(pid_and_square, lambda: range(10), workers)
    answers = list(pipeline)
    assert [square for _, square in answers] == [n * n for n in range(10)]
    assert len({pid for pid, _ in answers}) == max(1, workers)
    assert (os.getpid() in {pid for pid, _ in answers}) == (workers == 0)
    assert wait_until(lambda: not any(alive(pid) for pid, _ in answers if pid != os.getpid()))


def test_closing_half_way_ends_the_workers() -> None:
    pipeline = Pipeline(pid_and_square, lambda: range(1000), 2)
    stream = iter(pipeline)
    pids = {next(stream)[0] for _ in range(4)}
    assert all(alive(pid) for pid in pids)
    pipeline.close()
    pipeline.close()
    assert wait_until(lambda: not any(map(alive, pids)))


def test_iterating_again_starts_again_and_ends_the_first() -> None:
    pipeline = Pipeline(pid_and_square, lambda: range(1000), 1)
    (pid, _) = next(iter(pipeline))
    assert next(iter(pipeline))[1] == 0
    assert wait_until(lambda: not alive(pid))
    pipeline.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_mistake_keeps_its_one_line(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(Pipeline(fail_at_3, lambda: range(10), workers))
    assert str(caught.value) == "row 3 is wrong"


def test_a_bug_in_a_worker_shows_where_it_is() -> None:
    with pytest.raises(ZeroDivisionError, match="bug_at_3"):
        list(Pipeline(bug_at_3, lambda: range(10), 1))


def test_a_killed_worker_is_an_error_in_words() -> None:
    with pytest.raises(TrainingError, match="lower --workers"):
        list(Pipeline(die_at_3, lambda: range(10), 1))


def test_work_that_cannot_be_sent_says_so() -> None:
    with pytest.raises(UsageError, match="cannot be sent to worker processes"):
        list(Pipeline(lambda number: number, lambda: range(3), 1))


def test_ctrl_c_is_the_main_processs_alone() -> None:
    assert list(Pipeline(survive_ctrl_c, lambda: range(6), 2)) == list(range(6))


def test_workers_do_not_outlive_a_killed_process(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from vitrail.data.workers import Pipeline

            def pid(number):
                return os.getpid()

            if __name__ == "__main__":
                stream = iter(Pipeline(pid, lambda: range(10**6), 2))
                print(next(stream), next(stream), flush=True)
                time.sleep(60)
            """
        )
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    assert wait_until(lambda: not any(map(alive, pids)))
