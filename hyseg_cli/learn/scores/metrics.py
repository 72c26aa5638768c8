"""Agreement of a map with a reference, counted in one confusion matrix."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hyseg_cli.legend import NODATA_ID

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class ConfusionMatrix:
    """Pixels counted by reference class (rows) and map class (columns); mutable.

    Updates commute: windows may come in any order.
    """

    def __init__(self, classes: int) -> None:
        self.counts: Counts = np.zeros((classes, classes), np.int64)

    def update(self, reference: npt.NDArray[np.uint8], mapped: npt.NDArray[np.uint8]) -> None:
        """Count pixels where both have a class.

        Args:
            reference: Class indices 0..N-1, 255 where unknown; any shape.
            mapped: The same, of the map.
        """
        self.counts += count_pairs(reference, mapped, len(self.counts))

    def scores(self, excluded: Collection[int] = ()) -> Scores:
        """What the counts amount to.

        Args:
            excluded: Class indices that the means leave out; overall accuracy counts them.
        """
        return Scores.of(self.counts, excluded)


def count_pairs(
    reference: npt.NDArray[np.uint8], mapped: npt.NDArray[np.uint8], classes: int
) -> Counts:
    """Pixels by reference class (rows) and map class, where both have one; see `update`."""
    known = (reference != NODATA_ID) & (mapped != NODATA_ID)
    pairs = reference[known].astype(np.int64) * classes + mapped[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Margins:
    """The margins of a confusion matrix, from which scores are computed.

    Leading axes hold several matrices, such as the draws of a bootstrap.
    """

    hits: Floats
    """(..., N): pixels of each class that map and reference agree on, the diagonal."""
    reference: Floats
    """(..., N): pixels of each class in the reference."""
    mapped: Floats
    """(..., N): pixels of each class in the map."""

    @classmethod
    def of(cls, counts: Counts) -> Margins:
        """The margins of confusion matrices (..., N, N), rows being the reference."""
        return cls(
            np.diagonal(counts, axis1=-2, axis2=-1).astype(float),
            counts.sum(axis=-1).astype(float),
            counts.sum(axis=-2).astype(float),
        )

    @cached_property
    def iou(self) -> Floats:
        """Intersection over union of each class, NaN where it occurs in neither."""
        return ratio(self.hits, self.reference + self.mapped - self.hits)

    @cached_property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall of each class, the Dice coefficient."""
        return ratio(2.0 * self.hits, self.reference + self.mapped)

    @cached_property
    def overall_accuracy(self) -> Floats:
        """(...): share of the pixels that map and reference agree on."""
        return ratio(self.hits.sum(axis=-1), self.reference.sum(axis=-1))

    @cached_property
    def frequency_weighted_iou(self) -> Floats:
        """(...): IoU weighted by each class's share of the reference (Long et al. 2015)."""
        weighted = np.nansum(self.reference * self.iou, axis=-1)
        return ratio(weighted, self.reference.sum(axis=-1))


@dataclass(frozen=True)
class Scores:
    """Agreement per class and overall; NaN where a class occurs in neither raster."""

    iou: Floats
    f1: Floats
    precision: Floats
    recall: Floats
    averaged: npt.NDArray[np.bool_]
    """The classes that the means count if they occur."""
    overall_accuracy: float
    frequency_weighted_iou: float
    quantity_disagreement: float
    """Share of the pixels that differ because the map has too much or too little of classes."""
    allocation_disagreement: float
    """Share that differs because classes lie elsewhere; with quantity it makes 1 - accuracy."""
    kappa: float
    """Cohen's kappa; NaN if both rasters have only one and the same class."""
    pixels: int
    """Pixels compared."""

    @classmethod
    def of(cls, counts: Counts, excluded: Collection[int] = ()) -> Scores:
        """The scores of a confusion matrix (N, N), rows being the reference.

        Source: quantity and allocation disagreement, Pontius and Millones 2011.
        """
        margins = Margins.of(counts)
        total = margins.reference.sum()
        commission = margins.mapped - margins.hits
        omission = margins.reference - margins.hits
        accuracy = float(margins.overall_accuracy)
        by_chance = float(ratio((margins.reference * margins.mapped).sum(), total**2))
        averaged = np.ones(len(counts), np.bool_)
        averaged[list(excluded)] = False
        return cls(
            iou=margins.iou,
            f1=margins.f1,
            precision=ratio(margins.hits, margins.mapped),
            recall=ratio(margins.hits, margins.reference),
            averaged=averaged,
            overall_accuracy=accuracy,
            frequency_weighted_iou=float(margins.frequency_weighted_iou),
            quantity_disagreement=float(ratio(np.abs(commission - omission).sum() / 2.0, total)),
            allocation_disagreement=float(ratio(np.minimum(commission, omission).sum(), total)),
            kappa=float(ratio(accuracy - by_chance, 1.0 - by_chance)),
            pixels=int(total),
        )

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur and are averaged; NaN if there are none."""
        return float(mean_of_known(self.iou, self.averaged))

    @property
    def mean_f1(self) -> float:
        """Mean over the classes that occur and are averaged; NaN if there are none."""
        return float(mean_of_known(self.f1, self.averaged))


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Part over whole, NaN where the whole is not positive."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    found: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def mean_of_known(values: Floats, averaged: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Mean over the last axis, ignoring NaN; NaN if all values are.

    Args:
        values: (..., N).
        averaged: (N,), the entries that count; None for all.
    """
    known = ~np.isnan(values)
    if averaged is not None:
        known = known & averaged
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
