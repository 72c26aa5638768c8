"""How accurate the contours of a map are: boundary IoU and boundary F1, all classes in one pass.

Most pixels are far from any contour, so nothing is computed for them: each contour pixel paints
the disc around it. That is exact and, unlike a distance transform for each class, its time does
not grow with the number of classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.learn.scores.metrics import Counts, Floats, ratio
from hyseg_cli.legend import NODATA_ID, ClassIndices

Mask = npt.NDArray[np.bool_]

BAND_COUNTS = 7
"""Numbers kept of each class: see `count_boundaries`."""


@dataclass(frozen=True)
class Disc:
    """The pixels within a distance of a pixel."""

    radius: float
    """Pixels, Euclidean; at least 1."""

    @property
    def reach(self) -> int:
        """Rows and columns that it extends from its centre."""
        return math.floor(self.radius)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(n, 2): row and column of each of its pixels from the centre."""
        side = np.arange(-self.reach, self.reach + 1)
        rows, cols = np.meshgrid(side, side, indexing="ij")
        inside = rows**2 + cols**2 <= self.radius**2 + 1e-9
        return np.column_stack([rows[inside], cols[inside]]).astype(np.int64)


def count_boundaries(
    reference: ClassIndices,
    mapped: ClassIndices,
    inner: tuple[slice, slice],
    disc: Disc,
    classes: int,
) -> Counts:
    """The counts that boundary scores need from a window.

    A contour runs where two pixels that share an edge and both have a class differ in it; scene
    edges and pixels without class have none. The band of a class is its pixels within the
    disc's radius of another class's contour pixels. Without unknown pixels, this is what
    erosion by the distance removes.

    Args:
        reference: (height, width) channels, 255 where unknown.
        mapped: The same of the map, unknown at the same pixels.
        inner: The part to count; around it must lie `disc.reach + 1` further pixels, or the
            scene's edge, for the counts to be those of the whole scene.
        disc: Width of the band, and tolerance of the contour.
        classes: How many there are.

    Returns:
        int64 (classes, 7): pixels in both bands, in the reference's, in the map's; contour
        pixels of the reference, those near the map's contour of the class; contour pixels of
        the map, those near the reference's.
    """
    offsets = disc.offsets
    contours = contour(reference), contour(mapped)
    bands = (
        paint_band(reference, contours[0], offsets),
        paint_band(mapped, contours[1], offsets),
    )
    near = (
        paint_near(reference, contours[0], mapped, contours[1], offsets),
        paint_near(mapped, contours[1], reference, contours[0], offsets),
    )

    def by_class(channels: ClassIndices, chosen: Mask) -> Counts:
        return np.bincount(channels[inner][chosen[inner]], minlength=classes)[:classes]

    return np.column_stack(
        [
            by_class(reference, bands[0] & bands[1] & (reference == mapped)),
            by_class(reference, bands[0]),
            by_class(mapped, bands[1]),
            by_class(reference, contours[0]),
            by_class(reference, near[0]),
            by_class(mapped, contours[1]),
            by_class(mapped, near[1]),
        ]
    )


def boundary_iou(counts: Counts | Floats) -> Floats:
    """(..., classes): IoU of the bands; NaN where neither raster has one.

    Source: Cheng et al. 2021; their erosion is by a square, the band here by a disc.

    Args:
        counts: (..., classes, 7) of `count_boundaries`.
    """
    both, reference, mapped = (counts[..., i] for i in range(3))
    return ratio(both, reference + mapped - both)


def boundary_f1(counts: Counts | Floats) -> Floats:
    """(..., classes): harmonic mean of the shares of contour pixels that have a counterpart.

    NaN where neither raster has a contour of the class, 0 where one has none.

    Source: Csurka et al. 2013.
    """
    known, found, drawn, right = (counts[..., i].astype(float) for i in range(3, BAND_COUNTS))
    # 2 pr / (p + r) with p = right / drawn and r = found / known, without dividing by them.
    score = ratio(2.0 * right * found, right * known + found * drawn)
    return np.where(known + drawn > 0, np.nan_to_num(score), np.nan)


@kernel
def contour(channels: ClassIndices) -> Mask:
    """Pixels that share an edge with a pixel of another class; bool, as `channels`."""
    height, width = channels.shape
    found = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            if row > 0 and differ(channels[row, col], channels[row - 1, col]):
                found[row, col] = found[row - 1, col] = True
            if col > 0 and differ(channels[row, col], channels[row, col - 1]):
                found[row, col] = found[row, col - 1] = True
    return found


@kernel
def differ(one: int, other: int) -> bool:
    """Whether two channels are of different classes, both known; 255 is the largest of all."""
    return one != other and max(one, other) != NODATA_ID


@kernel
def paint_band(channels: ClassIndices, drawn: Mask, offsets: Counts) -> Mask:
    """Pixels that a disc around a contour pixel of another class reaches."""
    height, width = channels.shape
    band = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            if not drawn[row, col]:
                continue
            own = channels[row, col]
            for k in range(len(offsets)):
                i, j = row + offsets[k, 0], col + offsets[k, 1]
                if 0 <= i < height and 0 <= j < width and differ(channels[i, j], own):
                    band[i, j] = True
    return band


@kernel
def paint_near(
    channels: ClassIndices, drawn: Mask, other: ClassIndices, other_drawn: Mask, offsets: Counts
) -> Mask:
    """Contour pixels that a disc around a contour pixel of their class in the other reaches."""
    height, width = channels.shape
    near = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            if not other_drawn[row, col]:
                continue
            for k in range(len(offsets)):
                i, j = row + offsets[k, 0], col + offsets[k, 1]
                if (
                    0 <= i < height
                    and 0 <= j < width
                    and drawn[i, j]
                    and channels[i, j] == other[row, col]
                ):
                    near[i, j] = True
    return near
