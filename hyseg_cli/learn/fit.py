"""Fitting one stage of training with Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, Dataset

from hyseg_cli.console import Report
from hyseg_cli.errors import HysegError
from hyseg_cli.learn.checkpoint import SafetensorsIO
from hyseg_cli.learn.chips import Sample, TrainingChips, ValidationChips
from hyseg_cli.learn.modules import Stage

CHECKPOINT = "last.safetensors"


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a stage is run; what it optimises is its recipe's matter."""

    batch_size: int
    workers: int
    """Processes that prepare chips; 0 prepares them in the main one."""
    val_every: int
    """Steps between validations."""
    device: torch.device
    log_folder: Path
    """Where a folder with the stage's metrics.csv and its last checkpoint goes."""
    save_every: int
    """Steps between checkpoints."""
    resume: bool = False
    """Go on from the last checkpoint, if there is one."""


def fit(
    stage: Stage,
    chips: TrainingChips,
    validation: ValidationChips | None,
    *,
    name: str,
    options: FitOptions,
    report: Report,
) -> None:
    """Train a stage for the steps of its recipe; afterwards it holds the averaged weights."""
    steps = stage.recipe.steps
    last = options.log_folder / name / CHECKPOINT
    goes_on = options.resume and last.is_file()
    log = ""
    if goes_on:
        done = int(SafetensorsIO().load_checkpoint(last)["global_step"])
        report.note(f"the {name} goes on after step {done}")
        chips.first = done * options.batch_size
        log = f"after_{done}"
    progress = _Progress(report, name, steps)
    on_gpu = options.device.type == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[options.device.index or 0] if on_gpu else 1,
        precision="bf16-mixed" if on_gpu else "32-true",
        max_steps=steps,
        val_check_interval=min(options.val_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=stage.recipe.clip,
        callbacks=[
            WeightAveraging(avg_fn=stage.recipe.average),
            progress,
            _StopAtNonsense(chips, options.batch_size),
            _Saving(last, options.save_every),
        ],
        plugins=[SafetensorsIO()],
        logger=CSVLogger(options.log_folder, name=name, version=log),
        log_every_n_steps=min(10, steps),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(
        chips,
        batch_size=options.batch_size,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    held_out = None if validation is None else validation_loader(validation, options.batch_size)
    # Lightning leaves every module in the mode it finds it in.
    stage.train()
    with _without_known_warnings():
        trainer.fit(stage, loader, held_out, ckpt_path=last if goes_on else None)
        if held_out is not None and progress.validated_at != steps:
            trainer.validate(stage, held_out, verbose=False)


KNOWN_WARNINGS = (
    # Chips are cheap beside a training step; how many workers prepare them is a setting.
    ".*does not have many workers.*",
    # The frozen prior is meant to be in evaluation mode.
    ".*in eval mode at the start of training.*",
    # The chips know themselves where to go on.
    ".*your dataloader is not resumable.*",
    # Not everyone has scenes to spare.
    ".*have no `val_dataloader`.*",
    # Augmentations of torchvision with torch 2.15, when they are first used.
    ".*torch.jit.script. is deprecated.*",
    # Lightning 2.6 with the tree utilities of torch 2.15.
    ".*is deprecated, use `isinstance.treespec.*",
)
"""Of the libraries, about what is as it should be."""


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def validation_loader(chips: Dataset[Sample], batch_size: int) -> DataLoader[Sample]:
    """Batches of validation chips, which have four times the pixels of training chips."""
    return DataLoader(chips, batch_size=max(1, batch_size // 4))


class _StopAtNonsense(Callback):
    """Ends a training whose loss is no number, and tells where the chips came from."""

    def __init__(self, chips: TrainingChips, batch_size: int) -> None:
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
            hint="Look at these places for odd values, or lower --rate and --prior-rate.",
        )


class _Saving(Callback):
    """Writes the state of the training every so many steps, over the last one."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and trainer.global_step < trainer.max_steps:
            trainer.save_checkpoint(self.path)


class _Progress(Callback):
    """Passes steps and validation scores on to the report."""

    def __init__(self, report: Report, name: str, steps: int) -> None:
        self.report = report
        self.name = name
        self.steps = steps
        self.validated_at = 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.report.advance(f"training the {self.name}", trainer.global_step, self.steps)

    def on_validation_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        self.validated_at = trainer.global_step
        if isinstance(stage, Stage):
            for name, scores in stage.scores.items():
                self.report.note(
                    f"step {trainer.global_step}: {name} mIoU {scores.mean_iou:.3f}, "
                    f"accuracy {scores.overall_accuracy:.3f}"
                )
