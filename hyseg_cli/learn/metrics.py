"""Agreement of a map with a reference, counted in one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.legend import NODATA_ID

Counts = npt.NDArray[np.int64]


class ConfusionMatrix:
    """Pixels counted by reference class (rows) and map class (columns); mutable.

    Updates commute: windows may come in any order.
    """

    def __init__(self, classes: int) -> None:
        self.counts: Counts = np.zeros((classes, classes), np.int64)

    def update(self, reference: npt.NDArray[np.uint8], mapped: npt.NDArray[np.uint8]) -> None:
        """Count pixels where both have a class.

        Args:
            reference: Channels 0..N-1, 255 where unknown; any shape.
            mapped: The same, of the map.
        """
        known = (reference != NODATA_ID) & (mapped != NODATA_ID)
        classes = len(self.counts)
        pairs = reference[known].astype(np.int64) * classes + mapped[known]
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def scores(self) -> Scores:
        """What the counts amount to."""
        hits = np.diag(self.counts).astype(float)
        in_reference, in_map = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return Scores(
            iou=_ratio(hits, in_reference + in_map - hits),
            f1=_ratio(2.0 * hits, in_reference + in_map),
            precision=_ratio(hits, in_map),
            recall=_ratio(hits, in_reference),
            overall_accuracy=float(_ratio(hits.sum(), self.counts.sum())),
            pixels=int(self.counts.sum()),
        )


@dataclass(frozen=True)
class Scores:
    """Agreement per class and overall; NaN where a class occurs in neither raster."""

    iou: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    overall_accuracy: float
    pixels: int
    """Pixels compared."""

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN if none does."""
        return _mean_of_known(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean over the classes that occur; NaN if none does."""
        return _mean_of_known(self.f1)


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    ratio: npt.NDArray[np.float64] = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean_of_known(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
