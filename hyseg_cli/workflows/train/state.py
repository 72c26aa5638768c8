"""How far a training is, for whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyseg_cli.learn.scores.metrics import Scores
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.scenes import TrainingScenes


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """A training as it stands after a step."""

    settings: TrainSettings
    scenes: TrainingScenes
    folder: Path
    """The run folder, which has a folder with table and pictures for each stage."""
    parameters: int
    """Numbers in the network."""
    stage: str
    """`prior` or `segmentation`."""
    step: int
    """Of the stage."""
    steps: int
    """Of the stage, at most."""
    scores: Mapping[str, Scores]
    """Of the last validation by what was validated; empty before the first."""
    seconds_per_step: float | None
    """Of this run with its validations; None before its first step."""
    is_done: bool = False
    """Whether the model file is written."""

    @property
    def seconds_left(self) -> float | None:
        """Until the end of the stage, if it goes on as it did."""
        pace = self.seconds_per_step
        return None if pace is None else pace * (self.steps - self.step)


Show = Callable[[TrainingState], None]
"""Shows a training; called after each validation, and about once a minute."""


def show_nothing(_state: TrainingState) -> None:
    """Show nothing."""


class Pace:
    """Measures how long steps take, from the first call on."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    def at(self, step: int) -> float | None:
        """Seconds for each step since the first call; None in that call."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
        began, first = self._began
        return (now - began) / (step - first) if step > first else None
