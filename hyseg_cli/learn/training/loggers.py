"""Where a training logs: its own table, and the tools that people watch trainings with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from hyseg_cli.errors import HysegError, UsageProblemError

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
"""Each is also the name of the package that it needs."""
PROJECT = "hyseg"
"""What runs are filed under."""
SERVER = "MLFLOW_TRACKING_URI"
"""Variable with the address of a server of MLflow."""


def require_loggers(names: Sequence[LoggerName]) -> None:
    """Check before a training that its loggers are installed.

    Raises:
        UsageProblemError: If one is not.
    """
    for name in names:
        if find_spec(name) is None:
            wanted = '"hyseg[tensorboard]"' if name == "tensorboard" else name
            raise UsageProblemError(
                f"`logger` {name}: the package {name} is not installed",
                hint=f"Install it with `pip install {wanted}`; metrics.csv and training.html in "
                "the run folder need nothing.",
            )


def make_loggers(
    names: Sequence[LoggerName], folder: Path, stage: str, version: str
) -> list[Logger]:
    """The table of a stage, and the loggers that were chosen.

    Args:
        names: The chosen ones.
        folder: The run folder, `NAME.run`.
        stage: Name of the stage.
        version: Folder below that of the stage for a run that goes on; empty for the first.

    Raises:
        HysegError: If a logger cannot begin, for whatever reason of its own.
    """
    made: list[Logger] = [CSVLogger(folder, name=stage, version=version)]
    for name in names:
        logger = _logger(name, folder, stage, version)
        try:
            _ = logger.experiment  # begins the run, which otherwise waits for the first value
        except Exception as error:
            raise HysegError(
                f"`logger` {name} cannot begin a run ({error})",
                hint="Check its own settings, or leave it out: training.html needs nothing.",
            ) from error
        made.append(logger)
    return made


def _logger(
    name: LoggerName, folder: Path, stage: str, version: str
) -> TensorBoardLogger | MLFlowLogger | WandbLogger:
    title = " ".join(part for part in (folder.stem, stage, version) if part)
    if name == "tensorboard":
        return TensorBoardLogger(folder, name=stage, version=version)
    if name == "mlflow":
        # Without a server: MLflow keeps no more runs in plain folders.
        own = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        return MLFlowLogger(PROJECT, run_name=title, tracking_uri=os.environ.get(SERVER) or own)
    # WANDB_MODE=offline keeps runs in the run folder.
    return WandbLogger(name=title, project=PROJECT, save_dir=folder)
