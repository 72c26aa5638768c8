"""What is measured of the training scenes before the training: radiometry and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.balance import occurrence
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.model.quantiles import quantiles
from hyseg_cli.learn.model.radiometry import Radiometry, radiometry_of_sample
from hyseg_cli.legend import NODATA_ID

STRIP_ROWS = 512  # a multiple of the cells of `occurrence`
SAMPLE_PX = 500_000
"""Pixels of all scenes together from which percentiles are taken: their rank is then off by less
than a thousandth."""


@dataclass(frozen=True)
class Survey:
    """Of all training scenes together."""

    radiometry: Radiometry
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
    """What was found in one scene, which was read once."""

    pixels: int
    """Valid ones."""
    total: npt.NDArray[np.float64]
    """Sum of their values in each band."""
    squares: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.int64]
    """Labelled pixels of each class."""
    sample: npt.NDArray[np.float32]
    """Some valid pixels (bands, n), drawn at random."""
    occurrence: npt.NDArray[np.bool_]
    """Where each class occurs, as `balance.occurrence` gives it."""

    def of_classes(self, kept: npt.NDArray[np.bool_]) -> SceneCounts:
        """The same of some of the classes."""
        return replace(self, labelled=self.labelled[kept], occurrence=self.occurrence[kept])


def count_scene(scene: LabelledScene, classes: int, share: float = 1.0) -> SceneCounts:
    """Read all pixels and labels of a scene, in strips.

    Args:
        scene: What to read.
        classes: Number of channels of its labels.
        share: Part of the pixels to keep as a sample.

    Raises:
        UnusableFileError: If a block is damaged.
        HysegError: If a label is not in the legend.
    """
    pixels = 0
    total, squares = np.zeros(scene.bands), np.zeros(scene.bands)
    labelled = np.zeros(classes, np.int64)
    samples, cells = [], []
    rng = np.random.default_rng(0)
    for row in range(0, scene.height, STRIP_ROWS):
        strip = Window(row, 0, min(STRIP_ROWS, scene.height - row), scene.width)
        chip = scene.read(strip)
        values = chip.image[:, chip.valid]  # (bands, pixels)
        wide = values.astype(np.float64)
        pixels += values.shape[1]
        total += wide.sum(axis=1)
        squares += np.square(wide).sum(axis=1)
        chosen = rng.random(values.shape[1]) < share
        samples.append(values[:, chosen].astype(np.float32))
        labels = np.where(chip.valid, chip.labels, np.uint8(NODATA_ID))
        labelled += np.bincount(labels.ravel(), minlength=NODATA_ID + 1)[:classes]
        cells.append(occurrence(labels, classes))
    sample = np.concatenate(samples, axis=1)
    return SceneCounts(pixels, total, squares, labelled, sample, np.concatenate(cells, axis=1))


def sample_share(scenes: Sequence[LabelledScene]) -> float:
    """The share of the pixels of some scenes that makes a sample of `SAMPLE_PX`."""
    if not scenes:
        return 0.0
    return min(1.0, SAMPLE_PX / sum(scene.height * scene.width for scene in scenes))


def survey(counts: Sequence[SceneCounts], *, is_8_bit: bool) -> Survey:
    """What scenes of one band count have together.

    Raises:
        UsageProblemError: If no pixel is labelled.
    """
    labelled = np.sum([scene.labelled for scene in counts], axis=0)
    if labelled.sum() == 0:
        raise UsageProblemError(
            "no pixel of the training scenes is labelled",
            hint="Check that labels and images overlap, and what the legend ignores.",
        )
    sample = np.concatenate([scene.sample for scene in counts], axis=1)
    radiometry = _radiometry_of_sums(counts) if is_8_bit else radiometry_of_sample(sample)
    return Survey(radiometry, quantiles(sample), tuple(labelled.tolist()))


def _radiometry_of_sums(counts: Sequence[SceneCounts]) -> Radiometry:
    pixels = max(sum(scene.pixels for scene in counts), 1)
    mean = np.sum([scene.total for scene in counts], axis=0) / pixels
    squares = np.sum([scene.squares for scene in counts], axis=0) / pixels
    deviation = np.sqrt(np.maximum(squares - np.square(mean), 1e-12))
    return Radiometry(tuple(mean.tolist()), tuple(deviation.tolist()))
