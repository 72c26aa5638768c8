"""Statistics of the training scenes before the training: radiometry and classes.

They say where rare classes occur, and how much their pixels weigh in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.model.card import Radiometry, quantiles, radiometry_of_sample
from hyseg_cli.legend import NODATA_ID

CELL_PX = 64
"""Side of the cells for which the occurring classes are recorded."""

MAX_RATIO = 50.0
"""Largest weight over the smallest: a class of ten pixels must not dominate the loss."""

Weighting = Literal["none", "sqrt", "inverse"]

_POWER = {"sqrt": 0.5, "inverse": 1.0}


def occurrence(labels: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.bool_]:
    """Whether each class has a pixel in each cell.

    Args:
        labels: Class indices (height, width), 255 where unknown.
        classes: Number of channels N.

    Returns:
        bool (N, rows, cols) of cells; those at the lower and right edge may be smaller.
    """
    height, width = labels.shape
    margins = ((0, -height % CELL_PX), (0, -width % CELL_PX))
    padded = np.pad(labels, margins, constant_values=NODATA_ID)
    rows, cols = padded.shape[0] // CELL_PX, padded.shape[1] // CELL_PX
    blocks = padded.reshape(rows, CELL_PX, cols, CELL_PX)
    found = np.zeros((classes, rows, cols), bool)
    for channel in np.flatnonzero(np.bincount(labels.ravel(), minlength=classes)[:classes]):
        found[channel] = (blocks == channel).any(axis=(1, 3))
    return found


@dataclass(frozen=True)
class Places:
    """The cells in which each class occurs, over all scenes."""

    cells: tuple[npt.NDArray[np.int64], ...]
    """Of each class that occurs, (n, 3): scene, row and column of the cell's first pixel."""
    channels: tuple[int, ...]
    """Of these classes."""

    @classmethod
    def of(cls, found: Sequence[npt.NDArray[np.bool_]]) -> Places:
        """The places of some scenes, from their `occurrence`."""
        cells, channels = [], []
        for channel in range(len(found[0])):
            where = [
                (scene, row * CELL_PX, col * CELL_PX)
                for scene, grids in enumerate(found)
                for row, col in np.argwhere(grids[channel]).tolist()
            ]
            if where:
                cells.append(np.array(where, np.int64))
                channels.append(channel)
        return cls(tuple(cells), tuple(channels))

    def draw_class(self, rng: np.random.Generator) -> int:
        """Draw one of the occurring classes, all of them equally often."""
        return self.channels[int(rng.integers(len(self.channels)))]

    def draw_pixel(self, channel: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Scene, row and column of a pixel in a cell where a class occurs."""
        cells = self.cells[self.channels.index(channel)]
        scene, row, col = cells[int(rng.integers(len(cells)))].tolist()
        down, right = rng.integers(CELL_PX, size=2).tolist()
        return scene, row + down, col + right


def class_weights(labelled: Sequence[int], weighting: Weighting) -> tuple[float, ...] | None:
    """Weight of each class in the cross-entropy, one on average over the labelled pixels.

    Inverse to the class's number of pixels, or to its square root; classes without any weigh one.

    Args:
        labelled: Labelled pixels of each class.
        weighting: The rule; `none` gives None.
    """
    if weighting == "none":
        return None
    counts = np.asarray(labelled, float)
    present = counts > 0
    raw = np.ones(len(counts))
    raw[present] = (counts.max() / counts[present]) ** _POWER[weighting]
    raw = raw.clip(max=MAX_RATIO)
    weights = raw * counts.sum() / (raw * counts).sum()
    return tuple(np.where(present, weights, 1.0).tolist())


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
    """Statistics of one scene, which was read once."""

    pixels: npt.NDArray[np.int64]
    """Valid ones in each band; none in a band that the scene lacks."""
    total: npt.NDArray[np.float64]
    """Sum of their values in each band."""
    squares: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.int64]
    """Labelled pixels of each class."""
    sample: npt.NDArray[np.float32]
    """Some valid pixels (bands, n), drawn at random; NaN in a band that the scene lacks."""
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
    has_band = np.array(getattr(scene, "has_band", (True,) * scene.bands))
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
    sample[~has_band] = np.nan
    return SceneCounts(
        pixels * has_band, total, squares, labelled, sample, np.concatenate(cells, axis=1)
    )


def sample_share(scenes: Sequence[LabelledScene]) -> float:
    """The share of the pixels of some scenes that makes a sample of `SAMPLE_PX`."""
    if not scenes:
        return 0.0
    return min(1.0, SAMPLE_PX / sum(scene.height * scene.width for scene in scenes))


def survey(counts: Sequence[SceneCounts], *, is_8_bit: bool) -> Survey:
    """The combined statistics of scenes with the same number of bands.

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
    known = [band[~np.isnan(band)][None] for band in sample]
    radiometry = _radiometry_of_sums(counts) if is_8_bit else _radiometry_of_bands(known)
    return Survey(radiometry, tuple(quantiles(band)[0] for band in known), tuple(labelled.tolist()))


def _radiometry_of_bands(known: Sequence[npt.NDArray[np.float32]]) -> Radiometry:
    """The radiometry of pixels (1, n) of each band, of some there may be fewer than of others."""
    found = [radiometry_of_sample(band) for band in known]
    limits = [one.limits for one in found if one.limits is not None]
    return Radiometry(
        tuple(one.mean[0] for one in found),
        tuple(one.std[0] for one in found),
        (tuple(low[0] for low, _ in limits), tuple(high[0] for _, high in limits)),
    )


def _radiometry_of_sums(counts: Sequence[SceneCounts]) -> Radiometry:
    pixels = np.maximum(np.sum([scene.pixels for scene in counts], axis=0), 1)
    mean = np.sum([scene.total for scene in counts], axis=0) / pixels
    squares = np.sum([scene.squares for scene in counts], axis=0) / pixels
    deviation = np.sqrt(np.maximum(squares - np.square(mean), 1e-12))
    return Radiometry(tuple(mean.tolist()), tuple(deviation.tolist()))
