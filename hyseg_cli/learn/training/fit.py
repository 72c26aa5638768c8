"""Fitting one stage of training with Lightning."""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import Dataset

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.atomic import replacing
from hyseg_cli.learn.data.chips import Sample, TrainingChips
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.training.batches import ALONE, training_loader, validation_loader
from hyseg_cli.learn.training.callbacks import (
    Averaging,
    Interruption,
    Keeping,
    Progress,
    Saving,
    Show,
    Showing,
    StopAtNonsense,
)
from hyseg_cli.learn.training.checkpoint import SafetensorsIO
from hyseg_cli.learn.training.features import FeatureChips
from hyseg_cli.learn.training.loggers import LoggerName, make_loggers
from hyseg_cli.learn.training.processes import Processes
from hyseg_cli.learn.training.stages import Stage
from hyseg_cli.learn.training.validation_pictures import Gallery
from hyseg_cli.legend import Legend
from hyseg_cli.messages import Messages

LAST = "last.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.csv"
"""The table of a stage, which the logger writes."""
LOG_EVERY = 10
"""Steps between losses that are logged."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a stage is run; its recipe defines the optimisation."""

    batch_size: int
    """Chips of each step, in all processes together."""
    workers: int
    """Processes that prepare chips; 0 prepares them in the main one."""
    val_every: int
    """Steps between validations."""
    device: torch.device
    precision: Precision
    """Format in which networks run."""
    log_folder: Path
    """Gets a folder with the stage's metrics.csv, pictures, last and best checkpoint."""
    save_every: int
    """Steps between checkpoints."""
    patience: int | None = None
    """Validations without improvement after which to stop; None for never."""
    loggers: tuple[LoggerName, ...] = ()
    """Where to log beside the table."""
    processes: Processes = ALONE
    """The processes that share each batch."""
    resume: bool = False
    """Continue from the last checkpoint, if there is one."""
    show: Show | None = None
    """Shows how far the stage is."""

    @property
    def stops_after(self) -> int | None:
        """Steps without improvement after which to stop."""
        return None if self.patience is None else self.patience * self.val_every


def fit(
    stage: Stage,
    chips: TrainingChips | FeatureChips,
    validation: Dataset[Sample] | None,
    legend: Legend,
    *,
    name: str,
    options: FitOptions,
    messages: Messages,
) -> int:
    """Train a stage; afterwards it holds averaged weights and, with a validation, their scores.

    Returns:
        The step of these weights: the best of all validations, or the last without any.

    Raises:
        InterruptedRunError: If a signal asked to stop; the last checkpoint holds the state.
        HysegError: If the loss is not a number, or a file cannot be read or written.
    """
    folder = options.log_folder / name
    keeping = Keeping(folder / BEST, options.stops_after)
    done = _steps_done(folder / LAST) if options.resume else 0
    if done:
        messages.note(f"the {name} continues after step {done}")
        chips.first = done * options.batch_size
        keeping.find()
    progress = Progress(messages, name, keeping)
    showing = [] if options.show is None else [Showing(options.show)]
    gallery = [] if validation is None else [Gallery(validation, legend, folder / "pictures")]
    loader = training_loader(chips, options.batch_size, options.workers, options.processes)
    held_out = None
    if validation is not None:
        held_out = validation_loader(validation, options.batch_size, options.processes)
    hint = "continue with `resume` and the same settings"
    with (
        Interruption(f"the {name}", hint) as interruption,
        _without_known_warnings(),
        _enough_memory(),
    ):
        trainer = _trainer(
            stage,
            [
                StopAtNonsense(chips, options.batch_size),
                keeping,
                *gallery,
                progress,
                *showing,
                Averaging(avg_fn=stage.recipe.average),
                Saving(folder / LAST, options.save_every, options.val_every, interruption),
            ],
            make_loggers(
                options.loggers, options.log_folder, name, f"after_{done}" if done else ""
            ),
            options,
        )
        # Lightning leaves every module in the mode it finds it in.
        stage.train()
        trainer.fit(stage, loader, held_out, ckpt_path=folder / LAST if done else None)
        if held_out is None:
            return trainer.global_step
        if progress.validated_at != trainer.global_step:
            trainer.validate(stage, held_out, verbose=False)
        if keeping.step is None or keeping.step == trainer.global_step:
            return trainer.global_step
        trainer.strategy.barrier()  # the first process has written the best weights
        stage.load_state_dict(keeping.weights())
        if keeping.scores is not None:
            stage.scores = keeping.scores
        else:
            # The best step was validated by an earlier run.
            _trainer(stage, [], [], options).validate(stage, held_out, verbose=False)
        return keeping.step


def measure(stage: Stage, validation: Dataset[Sample], options: FitOptions) -> None:
    """Validate a stage, so that its scores are those of its current weights."""
    held_out = validation_loader(validation, options.batch_size, options.processes)
    with _without_known_warnings():
        _trainer(stage, [], [], options).validate(stage, held_out, verbose=False)


def add_row(folder: Path, values: Mapping[str, float]) -> None:
    """Add a row with columns of its own to the last table below a stage's folder.

    A run that went on has written a table beside the first. One that trained no step has none:
    it gets one.

    Args:
        folder: Of a stage, as `FitOptions.log_folder` / its name.
        values: The row.
    """
    tables = sorted(folder.rglob(METRICS), key=_version)
    path = tables[-1] if tables else folder / METRICS
    rows: list[dict[str, str]] = []
    if tables:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    row = {name: str(value) for name, value in values.items()}
    names = list(dict.fromkeys([*(rows[0] if rows else ()), *row]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows([*rows, row])


def _version(table: Path) -> int:
    """The number of the run that wrote a table; the clock may have been set back since."""
    number = table.parent.name.rpartition("_")[2]
    return int(number) if number.isdigit() else -1


def _steps_done(checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    return int(SafetensorsIO().load_checkpoint(checkpoint)["global_step"])


def _trainer(
    stage: Stage, callbacks: list[Callback], loggers: list[Logger], options: FitOptions
) -> pl.Trainer:
    steps, processes = stage.recipe.steps, options.processes
    together = processes.count > 1
    on_gpu = options.device.type == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[options.device.index or 0] if on_gpu and not together else processes.on_node,
        num_nodes=processes.nodes,
        strategy=DDPStrategy(process_group_backend="nccl" if on_gpu else "gloo")
        if together
        else "auto",
        # For shared batches; torch does not support it on the CPU.
        sync_batchnorm=together and on_gpu,
        use_distributed_sampler=False,
        precision="bf16-mixed" if options.precision == "bfloat16" else "32-true",
        max_steps=steps,
        val_check_interval=min(options.val_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=stage.recipe.clip,
        callbacks=callbacks,
        plugins=[SafetensorsIO()],
        logger=loggers,
        log_every_n_steps=min(LOG_EVERY, steps),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Report a lack of memory where a batch cannot be split: validation and several processes."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise HysegError(
            f"the GPU does not have enough memory ({error})",
            hint="Start over with `overwrite` and a smaller `batch_size` or `chip_size`.",
        ) from error


KNOWN_WARNINGS = (
    # Chips are cheap beside a training step; how many workers prepare them is a setting.
    ".*does not have many workers.*",
    # The frozen prior is meant to be in evaluation mode.
    ".*in eval mode at the start of training.*",
    # The chips themselves know where to continue.
    ".*your dataloader is not resumable.*",
    # Validation scenes are optional.
    ".*have no `val_dataloader`.*",
    # Augmentations of torchvision with torch 2.15, when they are first used.
    ".*torch.jit.script. is deprecated.*",
    # Lightning 2.6 with the tree utilities of torch 2.15.
    ".*is deprecated, use `isinstance.treespec.*",
)
"""Warnings of libraries about intended behaviour."""


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield
