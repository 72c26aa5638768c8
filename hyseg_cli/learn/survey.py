"""What is measured of the training scenes before the training: radiometry and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.grid import Window
from hyseg_cli.learn.labelled import LabelledScene
from hyseg_cli.learn.quantiles import quantiles
from hyseg_cli.legend import NODATA_ID, Legend

STRIP_ROWS = 512
SAMPLE_EVERY = 101
"""Of so many pixels one counts for the quantiles; a prime, so that no column is preferred."""


@dataclass(frozen=True)
class Survey:
    """Of all training scenes together."""

    mean: tuple[float, ...]
    """Of each band, over the valid pixels."""
    std: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    """Of each band, at `quantiles.LEVELS`."""
    labelled: tuple[int, ...]
    """Labelled pixels of each class, by channel."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Part of the labelled pixels that each class has."""
        total = sum(self.labelled)
        return tuple(count / total for count in self.labelled)


@dataclass(frozen=True)
class SceneCounts:
    """Sums over the pixels of one scene, which was read once."""

    pixels: int
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.int64]
    sample: npt.NDArray[np.float32]
    """(bands, pixels / SAMPLE_EVERY)."""


def count_scene(scene: LabelledScene) -> SceneCounts:
    """Read all pixels and labels of a scene, in strips.

    Raises:
        UnusableFileError: If a block is damaged.
        HysegError: If a label is not in the legend.
    """
    pixels = 0
    total, squares = np.zeros(scene.bands), np.zeros(scene.bands)
    labelled = np.zeros(NODATA_ID + 1, np.int64)
    sample = []
    for row in range(0, scene.height, STRIP_ROWS):
        strip = Window(row, 0, min(STRIP_ROWS, scene.height - row), scene.width)
        chip = scene.read(strip)
        values = chip.image[:, chip.valid].astype(np.float64)  # (bands, pixels)
        pixels += values.shape[1]
        sample.append(values[:, ::SAMPLE_EVERY].astype(np.float32))
        total += values.sum(axis=1)
        squares += np.square(values).sum(axis=1)
        labelled += np.bincount(chip.labels[chip.valid], minlength=NODATA_ID + 1)
    return SceneCounts(pixels, total, squares, labelled, np.concatenate(sample, axis=1))


def survey(counts: Sequence[SceneCounts], legend: Legend) -> Survey:
    """What the scenes have together.

    Args:
        counts: Of scenes of one band count.
        legend: Their classes.

    Raises:
        UsageProblemError: If no pixel is labelled.
    """
    pixels = max(sum(scene.pixels for scene in counts), 1)
    labelled = np.sum([scene.labelled for scene in counts], axis=0)[:NODATA_ID]
    if labelled.sum() == 0:
        raise UsageProblemError(
            "no pixel of the training scenes is labelled",
            hint="Check that labels and images overlap, and what the legend ignores.",
        )
    mean = np.sum([scene.total for scene in counts], axis=0) / pixels
    squares = np.sum([scene.squares for scene in counts], axis=0) / pixels
    deviation = np.sqrt(np.maximum(squares - np.square(mean), 1e-12))
    return Survey(
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
        quantiles(np.concatenate([scene.sample for scene in counts], axis=1)),
        tuple(labelled[: len(legend)].tolist()),
    )
