"""However a run ends: what run.json says of it, and what of the process is put back."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitrail import durable
from vitrail.errors import Interrupted, TrainingError, UsageError, VitrailError
from vitrail.run.folder import Run
from vitrail.training import checkpoint
from vitrail.training.journal import Journal


def refuse_threads(number: int) -> None:
    """UsageError for what is no number of threads; 0 is torch's own choice."""
    if number < 0:
        raise UsageError(f"--threads {number}: 0 for PyTorch's own choice, or more")


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with so many threads, on which the bits depend; 0 leaves torch its own choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def recorded(run: Run, journal: Journal) -> Iterator[None]:
    """Whatever ends the run, run.json says it."""
    try:
        yield
    except Interrupted as error:
        run.mark("interrupted", reason=str(error))
        raise
    except KeyboardInterrupt:  # where no loop answers signals, or at the second of them
        if not checkpoint.listed(run.folder / "checkpoints"):
            run.mark("interrupted", reason="interrupted before a checkpoint could be written")
            raise
        run.mark("interrupted", reason="interrupted after its newest checkpoint")
        raise Interrupted(f"interrupted after its newest checkpoint.\nGo on with: {run.again}", signal.SIGINT) from None
    except OSError as error:
        failure = durable.storage_error(error, f"cannot write to {run.folder}")
        _mark_failed(run, journal, failure)
        if checkpoint.listed(run.folder / "checkpoints"):
            failure = TrainingError(f"{failure}\nThen go on with: {run.again}")
        raise failure from error
    except Exception as error:
        _mark_failed(run, journal, error)
        raise
    finally:
        journal.close()


def _mark_failed(run: Run, journal: Journal, error: Exception) -> None:
    reason = str(error) if isinstance(error, VitrailError) else "".join(traceback.format_exception_only(error)).strip()
    try:
        run.mark("failed", reason=reason)
        journal.note(f"failed: {reason}")  # the screen gets it from whoever catches the error
    except OSError:
        return  # the disk is what failed: the message still reaches the screen
