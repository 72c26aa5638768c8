"""What is measured of the training scenes before the training: radiometry and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.grid import Window
from hyseg_cli.learn.labelled import LabelledScene
from hyseg_cli.legend import NODATA_ID, Legend

STRIP_ROWS = 512


@dataclass(frozen=True)
class Survey:
    """Of all training scenes together."""

    mean: tuple[float, ...]
    """Of each band, over the valid pixels."""
    std: tuple[float, ...]
    labelled: tuple[int, ...]
    """Labelled pixels of each class, by channel."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Part of the labelled pixels that each class has."""
        total = sum(self.labelled)
        return tuple(count / total for count in self.labelled)


def survey(scenes: Sequence[LabelledScene], legend: Legend) -> Survey:
    """Read all pixels and labels once, in strips.

    Args:
        scenes: Scenes of one band count.
        legend: Their classes.

    Raises:
        UsageProblemError: If no pixel is labelled.
    """
    count = 0
    total, squares = np.zeros(scenes[0].bands), np.zeros(scenes[0].bands)
    labelled = np.zeros(NODATA_ID + 1, np.int64)
    for scene in scenes:
        for row in range(0, scene.height, STRIP_ROWS):
            strip = Window(row, 0, min(STRIP_ROWS, scene.height - row), scene.width)
            chip = scene.read(strip)
            pixels = chip.image[:, chip.valid].astype(np.float64)  # (bands, pixels)
            count += pixels.shape[1]
            total += pixels.sum(axis=1)
            squares += np.square(pixels).sum(axis=1)
            labelled += np.bincount(chip.labels[chip.valid], minlength=NODATA_ID + 1)
    if labelled[:NODATA_ID].sum() == 0:
        raise UsageProblemError(
            "no pixel of the training scenes is labelled",
            hint="Check that labels and images overlap, and what the legend ignores.",
        )
    mean = total / max(count, 1)
    variance = np.maximum(squares / max(count, 1) - np.square(mean), 1e-12)
    return Survey(
        tuple(mean.tolist()),
        tuple(np.sqrt(variance).tolist()),
        tuple(labelled[: len(legend)].tolist()),
    )
