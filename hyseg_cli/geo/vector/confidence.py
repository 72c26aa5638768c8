"""The confidence of polygons: mean and tenth percentile of a confidence raster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.windows import Window as RasterWindow

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import Regions
from hyseg_cli.geo.coverage.runs import ClassRows, Int32s, Int64s, Labeller, strips
from hyseg_cli.geo.raster.gdal import naming_the_cause
from hyseg_cli.geo.raster.raster import Raster, open_dataset
from hyseg_cli.legend import QUANTISED_ONE

UNKNOWN = 255
BINS = 16
"""Quantised values are counted by their higher and then by their lower four bits."""
SHARE = 0.1

Quantised = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegionConfidence:
    """Confidence of each feature, by its number; NaN where it is unknown."""

    mean: Floats
    p10: Floats
    """The least confidence that a tenth of the pixels does not exceed."""


class ConfidenceRows:
    """A confidence raster on the grid of a map, 8-bit or float from 0 to 1.

    Raises:
        ModelMismatchError: If it has another grid, several bands, or another type.
        HysegError: If it is missing or cannot be read.
    """

    def __init__(self, path: Path, scene: Raster) -> None:
        self._path = path
        self._dataset = open_dataset(str(path))
        dataset = self._dataset
        shape, own = (dataset.height, dataset.width), (scene.height, scene.width)
        if shape != own or not _is_close(dataset.transform, scene.transform):
            raise ModelMismatchError(
                f"{path} is not on the grid of {scene.path}",
                hint="Confidence and map must be of one run.",
            )
        self._is_float = dataset.dtypes[0] in ("float32", "float64")
        if dataset.count != 1 or not (self._is_float or dataset.dtypes[0] == "uint8"):
            raise ModelMismatchError(
                f"{path} is not a confidence raster: it has {', '.join(dataset.dtypes)}",
                hint="Confidence is one band, 8-bit from 0 to 254 or float from 0 to 1.",
            )
        scaled = not self._is_float and dataset.scales[0] != 1.0
        self.scale = dataset.scales[0] if scaled else 1.0 / QUANTISED_ONE
        """Confidence of one value."""
        self.offset = dataset.offsets[0] if scaled else 0.0
        """Confidence of value 0."""

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def read(self, row: int, count: int) -> Quantised:
        """Quantised confidence of some rows."""
        window = RasterWindow(0, row, self._dataset.width, count)
        with naming_the_cause(f"{self._path}: rows {row} to {row + count - 1} cannot be read"):
            values = self._dataset.read(1, window=window)
            valid = self._dataset.read_masks(1, window=window) > 0
        if self._is_float:
            valid &= np.isfinite(values)
            if (values[valid] > 1.0).any() or (values[valid] < 0.0).any():
                raise ModelMismatchError(
                    f"{self._path} is not a confidence raster: it has values outside 0 to 1",
                    hint="Confidence is one band, 8-bit from 0 to 254 or float from 0 to 1.",
                )
            values = np.round(np.where(valid, values, 0.0) * QUANTISED_ONE)
        return np.where(valid, values, UNKNOWN).astype(np.uint8)


def _is_close(one: Affine, other: Affine) -> bool:
    size = max(abs(one.a), abs(one.b))
    return bool(np.allclose(one[:6], other[:6], rtol=1e-9, atol=1e-3 * size))


def measure_confidence(
    source: ClassRows,
    regions: Regions,
    feature_of_region: Int32s,
    confidence: ConfidenceRows,
) -> RegionConfidence:
    """Mean and tenth percentile of each feature, exact to the value; both rasters are read twice.

    Args:
        source: The raster that `regions` was found in.
        regions: Its regions.
        feature_of_region: Feature that each belongs to.
        confidence: Confidence of each pixel.
    """
    features = feature_of_region[regions.number_of_label]
    size = int(feature_of_region.max(initial=0)) + 1
    sums, counts = np.zeros(size, np.int64), np.zeros(size, np.int64)
    upper = np.zeros((size, BINS), np.uint32)
    _each_strip(source, regions, features, confidence, sums, counts, upper, None)
    bins, ranks = _bin_of_rank(upper, np.ceil(counts * SHARE).astype(np.int64))
    lower = upper
    lower[:] = 0
    _each_strip(source, regions, features, confidence, sums, counts, lower, bins)
    quantised = bins * BINS + _bin_of_rank(lower, ranks)[0]
    is_known = counts > 0
    mean = np.full(size, np.nan)
    np.divide(sums, counts, where=is_known, out=mean)
    p10 = np.where(is_known, quantised, np.nan)
    return RegionConfidence(
        mean * confidence.scale + confidence.offset, p10 * confidence.scale + confidence.offset
    )


def _each_strip(
    source: ClassRows,
    regions: Regions,
    features: Int32s,
    confidence: ConfidenceRows,
    sums: Int64s,
    counts: Int64s,
    histogram: npt.NDArray[np.uint32],
    bins: Int64s | None,
) -> None:
    labeller = Labeller(source.width, source.no_class, regions.tile)
    for row, count in strips(source.height):
        runs = labeller.label(source.read(row, count))
        count_levels(
            runs.offsets, runs.starts, runs.stops, features[runs.labels],
            confidence.read(row, count), sums, counts, histogram,
            np.full(len(counts), -1) if bins is None else bins,
        )  # fmt: skip


def _bin_of_rank(histogram: npt.NDArray[np.uint32], ranks: Int64s) -> tuple[Int64s, Int64s]:
    """The bin that holds the element of a rank (from 1), and its rank in that bin."""
    sums = np.cumsum(histogram, axis=1, dtype=np.int64)
    bins = np.minimum((sums < ranks[:, None]).sum(axis=1), BINS - 1)
    rows = np.arange(len(ranks))
    below = sums[rows, bins] - histogram[rows, bins]
    return bins, ranks - below


@kernel
def count_levels(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    features: Int32s,
    quantised: Quantised,
    sums: Int64s,
    counts: Int64s,
    histogram: npt.NDArray[np.uint32],
    bins: Int64s,
) -> None:
    """Count values by their upper bits, or by their lower ones where the upper are `bins`."""
    for row in range(1, len(offsets) - 1):
        for run in range(offsets[row], offsets[row + 1]):
            feature = features[run]
            for col in range(starts[run], stops[run]):
                value = quantised[row - 1, col]
                if value == UNKNOWN:
                    continue
                if bins[feature] < 0:
                    sums[feature] += value
                    counts[feature] += 1
                    histogram[feature, value // BINS] += 1
                elif value // BINS == bins[feature]:
                    histogram[feature, value % BINS] += 1
