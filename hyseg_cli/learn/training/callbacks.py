"""What happens beside the steps of a training: averaging, saving, reporting, stopping.

The weights are the averaged ones in `on_validation_end` of callbacks that stand before
`Averaging`; state is saved by callbacks that stand after it.

If a signal asks a run to stop, it first finishes its step and saves its state.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor

from hyseg_cli.errors import HysegError, InterruptedRunError
from hyseg_cli.learn.data.chips import TrainingChips
from hyseg_cli.learn.scores.metrics import Scores
from hyseg_cli.learn.training.checkpoint import SafetensorsIO
from hyseg_cli.learn.training.features import FeatureChips
from hyseg_cli.learn.training.stages import Stage
from hyseg_cli.messages import Messages

Show = Callable[[int, Mapping[str, Scores]], None]
"""Gets a step, and the scores of the last validation by what was validated."""
SECONDS_BETWEEN_SHOWS = 60.0


class Interruption:
    """Records the first Ctrl-C or SIGTERM; a second one ends the run immediately.

    Works only in the main thread; elsewhere signal handlers are not changed.

    Args:
        task: The current task, for the message.
        hint: How to continue later.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, task: str, hint: str) -> None:
        self.received: signal.Signals | None = None
        self._task = task
        self._hint = hint
        self._is_main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in self.signals}

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_main:
            for number, before in self._before.items():
                signal.signal(number, before)

    def listen(self) -> None:
        """Install the signal handlers, replacing those of libraries."""
        if self._is_main:
            for number in self.signals:
                signal.signal(number, self._note)

    def error(self, where: str) -> InterruptedRunError:
        """The error to raise once the state is saved, or cannot be saved."""
        received = self.received or signal.SIGTERM
        return InterruptedRunError(
            received, f"Stopped by {received.name} {where} of {self._task}", hint=self._hint
        )

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise self.error("in the middle")
        self.received = signal.Signals(number)


class Averaging(WeightAveraging):
    """Averages the weights, and puts the average in their place while validating."""

    def on_validation_epoch_start(self, *_: Any) -> None:
        """Too late: see `on_validation_start`."""

    def on_validation_epoch_end(self, *_: Any) -> None:
        """Too early: scores are known in `on_validation_end`, and belong to these weights."""

    def on_validation_start(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, stage)

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, stage)

    def on_fit_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        # A run that continues from its last step never reaches `on_train_end`.
        super().on_train_end(trainer, stage)

    def teardown(self, _trainer: pl.Trainer, _stage: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average_model = None


class StopAtNonsense(Callback):
    """Ends a training whose loss is not a number, and reports where the chips came from."""

    def __init__(self, chips: TrainingChips | FeatureChips, batch_size: int) -> None:
        self.chips = chips
        self.batch_size = batch_size

    def on_train_batch_end(
        self, trainer: pl.Trainer, _stage: pl.LightningModule, outputs: Any, _batch: Any, index: int
    ) -> None:
        if torch.isfinite(outputs["loss"]):
            return
        first = index * self.batch_size - self.chips.first
        places = [self.chips.place(first + chip) for chip in range(self.batch_size)]
        raise HysegError(
            f"the loss is {float(outputs['loss'])} at step {trainer.global_step}, "
            f"with chips of {'; '.join(places)}",
            hint="Look at these places for odd values, or lower `rate` and `prior_rate`.",
        )


class Saving(Callback):
    """Saves the state of the training every N steps, at the end and when asked to stop.

    It saves before each validation, so that stopping during a validation loses no training.

    Args:
        path: The checkpoint, written over the last one.
        every: Steps between checkpoints.
        val_every: Steps between validations.
        interruption: Reports requests to stop.
    """

    def __init__(self, path: Path, every: int, val_every: int, interruption: Interruption) -> None:
        self.path = path
        self.every = every
        self.val_every = val_every
        self.interruption = interruption

    def on_fit_start(self, _trainer: pl.Trainer, _stage: pl.LightningModule) -> None:
        # Lightning has just installed a handler for SIGTERM, which would exit with status 0.
        self.interruption.listen()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        is_due = step % self.every == 0 or step % self.val_every == 0 or step == trainer.max_steps
        # All processes save together and stop together, whichever got the signal.
        is_asked = trainer.strategy.reduce_boolean_decision(
            self.interruption.received is not None, all=False
        )
        if is_due or is_asked:
            trainer.save_checkpoint(self.path)
        if is_asked:
            raise self.interruption.error(f"after step {step}")

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.interruption.received and trainer.world_size == 1:
            raise self.interruption.error(f"while validating step {trainer.global_step}")


class Keeping(Callback):
    """Keeps the weights with the best validation so far, and stops without improvement.

    The file itself holds its score, so that a continued run finds it.

    Args:
        path: Where they are kept.
        stops_after: Steps without improvement after which to stop; None for never.
    """

    def __init__(self, path: Path, stops_after: int | None) -> None:
        self.path = path
        self.stops_after = stops_after
        self.step: int | None = None
        self.score = -math.inf
        self.scores: dict[str, Scores] | None = None
        """All scores of the best step, if it was validated in this run."""

    def find(self) -> None:
        """Look for the best weights of an earlier run."""
        if self.path.is_file():
            kept = SafetensorsIO().load_checkpoint(self.path)
            self.step, self.score = int(kept["step"]), float(kept["score"])

    def weights(self) -> dict[str, Tensor]:
        """The state of the stage at the best step."""
        state: dict[str, Tensor] = SafetensorsIO().load_checkpoint(self.path)["state_dict"]
        return state

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        if not isinstance(stage, Stage):
            return
        step, score = trainer.global_step, stage.watched
        if score > self.score or step == self.step:
            self.step, self.score, self.scores = step, score, stage.scores
            if trainer.is_global_zero:
                kept = {"state_dict": stage.state_dict(), "step": step, "score": score}
                SafetensorsIO().save_checkpoint(kept, self.path)
        elif self.stops_after is not None and step - (self.step or 0) >= self.stops_after:
            trainer.should_stop = True


class Progress(Callback):
    """Passes steps and validation scores on to the messages."""

    def __init__(self, messages: Messages, name: str, keeping: Keeping) -> None:
        self.messages = messages
        self.name = name
        self.keeping = keeping
        self.validated_at = 0
        self._losses: list[Tensor] = []
        self._parts = 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, stage: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        if isinstance(stage, Stage) and stage.parts != self._parts:
            self._parts = stage.parts
            self.messages.warn(
                f"out of memory: from step {trainer.global_step} on each batch is computed in "
                f"{stage.parts} parts, which takes longer but learns the same"
            )
        self._losses.append(outputs["loss"].detach())
        self.messages.advance(f"training the {self.name}", trainer.global_step, trainer.max_steps)

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        self.validated_at = trainer.global_step
        if not isinstance(stage, Stage):
            return
        parts = [
            f"mIoU {scores.mean_iou:.3f} and accuracy {scores.overall_accuracy:.3f} ({name})"
            for name, scores in stage.scores.items()
        ]
        if self._losses:
            parts.append(f"loss {float(torch.stack(self._losses).mean()):.3f}")
            self._losses.clear()
        if self.keeping.step not in (None, self.validated_at):
            parts.append(f"best {self.keeping.score:.3f} at step {self.keeping.step}")
        self.messages.note(f"{self.name}, step {self.validated_at}: {', '.join(parts)}")


class Showing(Callback):
    """Passes step and scores on after each validation, and now and then between them.

    Stands behind the callbacks whose tables and pictures are to be shown.

    Args:
        show: Gets the step and the scores of the last validation.
        seconds: Between two calls that no validation asks for.
    """

    def __init__(self, show: Show, seconds: float = SECONDS_BETWEEN_SHOWS) -> None:
        self.show = show
        self.seconds = seconds
        self._shown_at = -math.inf

    def on_train_batch_end(self, trainer: pl.Trainer, stage: pl.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._shown_at >= self.seconds:
            self._show(trainer, stage)

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        self._show(trainer, stage)

    def on_fit_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        self._show(trainer, stage)

    def _show(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        if not isinstance(stage, Stage) or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()  # rows of the table wait in memory otherwise
        self.show(trainer.global_step, stage.scores)
        self._shown_at = time.monotonic()
