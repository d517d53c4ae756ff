"""The one training loop.

Order of every pass: if the last update ended an epoch that has no row yet, evaluate and write the row; else make one
update. A checkpoint may be written between any two of these, so a resumed run finds itself in one of two states that
the loop handles anyway, and ends with the bits of a run never stopped.
"""

from __future__ import annotations

import math
import shlex
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitrail.contracts import Batch, Engine, Failure, Task
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.data.mixing import MIX_GROUP, mix
from vitrail.data.transfer import batch_to_device
from vitrail.errors import Interrupted, TrainingError
from vitrail.evaluate.evaluator import Evaluation, evaluate
from vitrail.seeding import derive_seed
from vitrail.settings import Config
from vitrail.tasks import restore
from vitrail.training import checkpoint
from vitrail.training.batch_statistics import has_batch_statistics, without_failures
from vitrail.training.checkpoint import Progress
from vitrail.training.ema import Average
from vitrail.training.frozen import train_mode
from vitrail.training.journal import Journal, duration
from vitrail.training.memory import peak_memory_mb
from vitrail.training.objective import Objective, has_parameters
from vitrail.training.optimizer import Updater
from vitrail.training.readback import Readback
from vitrail.training.schedule import Schedule
from vitrail.training.signals import Signals

REFUSED_LIMIT = 3
"""So many updates in a row that are not finite end the run."""


Keep = Callable[[str, nn.Module, dict[str, float], Task], None]
"""Writes a model folder: keep("best", model, metrics, task)."""


class Loop:
    """Trains `model` on positions of the endless order until the schedule ends, and keeps the best epoch.

    make_batches(first, last): the training batches of those positions.  validation: an EvalLoader, or anything that
    can be iterated again and again.  make_engine: what runs a model when it is evaluated.  keep: called with "best" on
    every new best epoch, with "last" at the end.  verb: of the command that goes on with the run.
    """

    def __init__(
        self, *, model: nn.Module, task: Task, objective: Objective, config: Config, images: int, device: str,
        make_batches: Callable[[int, int], TrainLoader], validation: EvalLoader,
        make_engine: Callable[[nn.Module], Engine], journal: Journal, keep: Keep,
        checkpoints: Path, allowed_failures: int, verb: str = "train",
    ) -> None:  # fmt: skip
        self.model = model.to(device)
        self.objective = objective.to(device)
        self.task, self.config, self.device = task, config, device
        self.make_batches, self.validation = make_batches, validation
        self.journal, self.keep, self.checkpoints = journal, keep, checkpoints
        self.allowed_failures, self.verb = allowed_failures, verb
        self.schedule = Schedule(images, config.train)
        self.average = Average(self.model, config.train.ema)
        learners = {"model": self.model, "objective": self.objective}
        self.updater = Updater(nn.ModuleDict(learners) if has_parameters(objective) else self.model, config.train)
        self.batch_statistics = has_batch_statistics(self.model)
        self.engine = make_engine(self.average.model)
        self.progress = Progress()
        self.pending: deque[dict[str, Any]] = deque()
        self.speed: deque[tuple[float, int]] = deque(maxlen=50)

    # ------------------------------------------------------------------------------------------------------- whole

    def resume(self) -> None:
        """Go back to the newest whole checkpoint; a damaged newer one is named and passed over."""
        folder, faults = checkpoint.newest_good(self.checkpoints)
        for fault in faults:
            self.journal.warn(f"{fault}; going back to {folder.name}")
        self.progress = checkpoint.load(folder, self.model, self.average, self.updater, self.objective)
        self.journal.say(f"resuming after update {self.progress.step} of {self.schedule.steps}")

    def run(self) -> Progress:
        """Train to the end. Raises TrainingError, or Interrupted once a checkpoint stands."""
        self.journal.rewind(self.progress.step, self.progress.history)
        self._started, self._saved = time.monotonic() - self.progress.seconds, time.monotonic()
        with Signals((signal.SIGINT, signal.SIGTERM)) as self.signals, torch.random.fork_rng():
            try:
                self._rehearse()
                self._train()
            except torch.OutOfMemoryError:
                size = self.config.train.batch_size // self.config.train.accumulate
                what = f"out of memory on {self.device} with {size} images at once"
                raise TrainingError(f"{what}: lower --batch-size, or raise train.accumulate") from None
            finally:
                self.journal.stop()
        self.keep("last", self.average.model, self._last_metrics(), self._tuned())
        return self.progress

    def _rehearse(self) -> None:
        """Two validation batches before step 1: what would break after an epoch breaks now."""
        for number, batch in enumerate(self.validation):
            good = batch.weights > 0
            self._count_failures(batch.failures, "every score")
            if bool(good.any()):
                self.task.loss(torch.from_numpy(self.engine(batch.images[good].numpy())), batch.targets[good])
            if number == 1:
                break

    def _train(self) -> None:
        size, micro = self.config.train.batch_size, self.config.train.batch_size // self.config.train.accumulate
        self.journal.start("training", self.schedule.steps)
        batches: TrainLoader | None = None
        try:
            stream: Iterable[Batch] = iter(())
            while True:
                step = self.progress.step
                if self.schedule.ends_epoch(step) and not self._has_row(self.schedule.epochs_done(step)):
                    self._end_epoch()
                if step >= self.schedule.steps or self.progress.stopped:
                    break
                if batches is None:
                    batches = self.make_batches(step * size, self.schedule.steps * size)
                    stream = iter(batches)
                started = time.monotonic()
                micro_batches: list[Batch] = [next(stream) for _ in range(size // micro)]  # type: ignore[call-overload]
                updated = self.update(micro_batches)
                self.speed.append((time.monotonic() - started, size))
                self._later(updated, [key for batch in micro_batches for key in batch.keys])
                self._rest()
            self._flush_pending()
        finally:
            if batches is not None:
                batches.close()

    # ------------------------------------------------------------------------------------------------- one update

    def update(self, micro_batches: Sequence[Batch]) -> Readback:
        """One update. What is read back: summed loss, summed weight, gradient norm, 1 where it was refused."""
        step, config = self.progress.step, self.config
        train_mode(self.model)
        self.objective.train()
        loss_sum = torch.zeros((), device=self.device)
        weight = torch.zeros((), device=self.device)
        groups = 0
        mixes = self.schedule.mixes(step, config.augment.mix_off_epochs)
        self.updater.begin()
        for number, batch in enumerate(micro_batches):
            self._count_failures(batch.failures, "its batch")
            mixed = mix(batch, config.augment, config.data_seed, step, first_group=groups) if mixes else batch
            groups += -(-len(batch.keys) // MIX_GROUP)
            if self.batch_statistics:
                mixed = without_failures(mixed)
                if not len(mixed.keys):
                    continue
            mixed = batch_to_device(mixed, self.device)
            torch.manual_seed(derive_seed(config.seed, "model", step, number, 0))
            with torch.autocast(self.device, torch.bfloat16, enabled=config.train.precision == "bf16"):
                losses = self.objective(self.model, mixed)
            # where, not a product: a failed sample's loss must not count even where it is not finite
            loss = torch.where(mixed.weights > 0, losses * mixed.weights, 0.0).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
            weight += mixed.weights.sum()
        norm, refused = self.updater.update(self.schedule.lr(step), loss_sum, weight)
        self.average.update(step)
        self.progress.step = step + 1
        return Readback([loss_sum, weight, norm, refused])

    def _later(self, updated: Readback, keys: list[str]) -> None:
        """Queue this update's numbers and read the ones before it, by now on the host without waiting."""
        lr = self.schedule.lr(self.progress.step - 1)
        self.pending.append({"step": self.progress.step, "lr": lr, "numbers": updated, "keys": keys})
        if len(self.pending) > 1:
            self._read(self.pending.popleft())
        note = f"lr {lr:.2e}"
        rate = sum(n for _, n in self.speed) / max(1e-9, sum(t for t, _ in self.speed))
        left = (self.schedule.steps - self.progress.step) * self.config.train.batch_size / max(rate, 1e-9)
        epoch = min(self.config.train.epochs, self.schedule.epochs_done(self.progress.step) + 1)
        what = f"epoch {epoch:g}/{self.config.train.epochs:g} step"
        self.journal.advance(what, self.progress.step, self.schedule.steps, f"{note}, {rate:.0f} images/s", left)

    def _read(self, entry: dict[str, Any]) -> None:
        loss, weight, norm, refused = entry["numbers"].read()
        mean = loss / weight if weight else math.nan
        progress, record = self.progress, {"step": entry["step"], "lr": entry["lr"]}
        if not refused:
            self.journal.step({**record, "loss": mean, "grad_norm": norm})
            progress.loss_sum += loss
            progress.loss_weight += weight
            progress.refused_in_a_row = 0
            return
        progress.refused += 1
        progress.refused_in_a_row += 1
        shown = ", ".join(entry["keys"][:8]) + (", ..." if len(entry["keys"]) > 8 else "")
        self.journal.say(
            f"warning: update {entry['step']} was not finite and was refused; its images: {shown}", "yellow"
        )
        self.journal.step({**record, "refused": entry["keys"]})
        if progress.refused_in_a_row >= REFUSED_LIMIT:
            self.pending.clear()
            self.save()
            other = "" if self.config.train.precision == "fp32" else ", or use --precision fp32"
            raise TrainingError(
                f"{REFUSED_LIMIT} updates in a row were not finite (last: update {entry['step']}, images {shown}).\n"
                f"The weights before them are in {self.checkpoints}; lower --lr{other}."
            )

    def _flush_pending(self) -> None:
        while self.pending:
            self._read(self.pending.popleft())

    def _count_failures(self, failures: Iterable[Failure], where: str) -> None:
        for failure in failures:
            if failure.key not in self.progress.failures:
                self.progress.failures[failure.key] = failure.reason
                self.journal.warn(f"left out of {where}: {failure.key}: {failure.reason}")
        if len(self.progress.failures) > self.allowed_failures:
            key, reason = next(reversed(self.progress.failures.items()))
            raise TrainingError(
                f"{len(self.progress.failures)} images failed after the audit, more than data.max_bad_fraction allows"
                f" ({self.allowed_failures}); last: {key}: {reason}"
            )

    # --------------------------------------------------------------------------------------------------- one epoch

    def _end_epoch(self) -> None:
        self._flush_pending()
        progress, train = self.progress, self.config.train
        epoch = self.schedule.epochs_done(progress.step)
        result = self.evaluate(progress=lambda done: self._answer_signal())
        self._count_failures(result.failures, "every score")
        progress.seconds = time.monotonic() - self._started
        loss = progress.loss_sum / progress.loss_weight if progress.loss_weight else math.nan
        row: dict[str, Any] = {"epoch": epoch, "time": round(progress.seconds, 2), "train/loss": loss}
        row |= {f"val/{name}": value for name, value in result.metrics.items()}
        rate = sum(n for _, n in self.speed) / max(1e-9, sum(t for t, _ in self.speed))
        row |= {"lr": self.schedule.lr(max(0, progress.step - 1)), "images_per_s": round(rate, 1)}
        row["memory_mb"] = peak_memory_mb(self.device)
        progress.history.append(row)
        progress.loss_sum = progress.loss_weight = 0.0
        progress.tuned = self.task.tuned(result.outputs, result.targets).state() if result.keys else None
        score = result.metrics.get(self.task.headline)
        better = score is not None and (
            progress.best is None or (score > progress.best if self.task.maximise else score < progress.best)
        )
        if better:
            progress.best, progress.best_epoch = score, epoch
            self.keep("best", self.average.model, result.metrics, self._tuned())
        shown = f"{score:.4f}" if score is not None else "not defined"
        headline = f"  val {self.task.headline} {shown}" if self.task.headline != "loss" else ""
        self.journal.say(
            f"epoch {epoch:g}/{train.epochs:g}  loss {loss:.4f}  val loss {result.metrics.get('loss', math.nan):.4f}"
            f"{headline}{' (best)' if better else ''}"
            f"  {rate:.0f} images/s  {duration(progress.seconds)}"
        )
        if train.early_stop and epoch - progress.best_epoch >= train.early_stop:
            progress.stopped = f"no better val {self.task.headline} in {train.early_stop} epochs"
            self.journal.say(f"stopping early: {progress.stopped}")
        self.journal.results(progress.history)
        self._checkpoint()

    def evaluate(self, progress: Callable[[int], None] | None = None) -> Evaluation:
        """The model that is kept, on the validation images; `progress` is told the number done."""
        return evaluate(self.engine, self.validation, self.task, progress)

    def _has_row(self, epoch: float) -> bool:
        return bool(self.progress.history) and self.progress.history[-1]["epoch"] >= epoch

    def _tuned(self) -> Task:
        """The task with what was chosen on validation when it was last evaluated."""
        return restore(self.progress.tuned) if self.progress.tuned else self.task

    def _last_metrics(self) -> dict[str, float]:
        row = self.progress.history[-1] if self.progress.history else {}
        return {key.removeprefix("val/"): value for key, value in row.items() if key.startswith("val/")}

    # --------------------------------------------------------------------------------------------------- stopping

    def _rest(self) -> None:
        """Between two updates: answer a signal, and write a checkpoint when one is due."""
        self._answer_signal()
        if time.monotonic() - self._saved >= self.config.train.checkpoint_seconds:
            self._checkpoint()

    def _answer_signal(self) -> None:
        if self.signals.received is None:
            return
        self.journal.stop()
        self._checkpoint()
        self.keep("last", self.average.model, self._last_metrics(), self._tuned())
        name = signal.Signals(self.signals.received).name
        stopped = f"stopped by {name} after update {self.progress.step}, with a checkpoint."
        run = shlex.quote(str(self.checkpoints.parent))
        message = f"{stopped}\nGo on with: vitrail {self.verb} --resume {run}"
        raise Interrupted(message, self.signals.received)

    def _checkpoint(self) -> Path:
        self._flush_pending()
        self.progress.seconds = time.monotonic() - self._started
        self.journal.flush()
        folder = self.save()
        self._saved = time.monotonic()
        return folder

    def save(self) -> Path:
        """Write a checkpoint of things as they are."""
        kept = self.config.train.keep_checkpoints
        parts = (self.model, self.average, self.updater)
        return checkpoint.save(self.checkpoints, self.progress, *parts, kept, self.objective)
