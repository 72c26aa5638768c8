"""Where a training logs: its own table, and the tools that people watch trainings with."""

from __future__ import annotations

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

from hyseg_cli.errors import UsageProblemError

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
"""Each is also the name of the package that it needs."""
PROJECT = "hyseg"
"""What runs are filed under."""


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
    """
    made: list[Logger] = [CSVLogger(folder, name=stage, version=version)]
    title = " ".join(part for part in (folder.stem, stage, version) if part)
    for name in names:
        if name == "tensorboard":
            made.append(TensorBoardLogger(folder, name=stage, version=version))
        elif name == "mlflow":
            # MLFLOW_TRACKING_URI names a server; without it runs are kept in the run folder.
            made.append(MLFlowLogger(PROJECT, run_name=title, save_dir=str(folder / "mlruns")))
        else:
            # WANDB_MODE=offline keeps runs in the run folder.
            made.append(WandbLogger(name=title, project=PROJECT, save_dir=folder))
    return made
