"""Processes that read and augment ahead of the model: safe to start, silent, and never left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from vitrail.errors import TrainingError, UsageError, VitrailError

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Pipeline(Generic[Request, Answer]):
    """Answers of `work` to `requests`, in their order, worked out ahead by `workers` processes (0: in this one).

    Workers are forked from a clean server process that has loaded torch once (where the system has one; else they are
    started anew), never from this process, whose threads and locks a fork would copy. `work` and the requests travel
    by pickle. Iterating again starts again. Raises what `work` raises, TrainingError where a worker died, UsageError
    where `work` cannot be sent.
    """

    def __init__(self, work: Callable[[Request], Answer], requests: Callable[[], Iterable[Request]], workers: int):
        self._work, self._requests, self._workers = work, requests, workers
        self._running: Iterator[Answer] | None = None

    def __iter__(self) -> Iterator[Answer]:
        self.close()
        self._running = self._run()
        return self._running

    def close(self) -> None:
        """End the workers; harmless where none run."""
        running, self._running = self._running, None
        if running is not None:
            running.close()  # type: ignore[attr-defined]

    def _run(self) -> Iterator[Answer]:
        answers: Any = None
        try:
            answers = self._start()
            while True:
                try:
                    answer = next(answers)
                except StopIteration:
                    return
                except RuntimeError as error:
                    if not str(error).startswith("DataLoader worker (pid"):
                        raise
                    raise TrainingError(
                        "a process that reads images died, most likely for lack of memory: lower --workers.\n"
                        "(In your own script: start training under `if __name__ == '__main__':`, or set workers=0.)"
                    ) from None
                if isinstance(answer, VitrailError):
                    raise answer
                yield answer
        finally:
            answers = None  # the last reference: torch ends the workers with it

    def _start(self) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores is fine
            warnings.filterwarnings("ignore", message="Got pickle error")  # said below, in our words
            loader: DataLoader[Any] = DataLoader(
                _Answers(self._work),
                batch_size=None,
                sampler=self._requests(),
                num_workers=self._workers,
                collate_fn=_as_is,
                worker_init_fn=_prepare_worker if self._workers else None,
                multiprocessing_context=_context() if self._workers else None,
                generator=torch.Generator(),  # torch would draw from the caller's
            )
            try:
                return iter(loader)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                if not self._workers:
                    raise
                raise UsageError(f"the data cannot be sent to worker processes ({error}): use --workers 0") from None


class _Answers(Dataset[Any]):
    """A dataset whose index is a request."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __getitem__(self, request: Any) -> Any:
        try:
            return self._work(request)
        except VitrailError as error:
            return error  # as a value: raised in a worker, it would come back with a traceback for its message


def _as_is(answer: Any) -> Any:
    return answer


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vitrail.data.loader"])
    return context


def _prepare_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer: it still needs the data
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when the process that asked for it is gone, killed even: torch's own watch sees the server."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
