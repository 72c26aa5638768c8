"""How similar a map is to its reference in shape: lines, pieces, holes and contours of each class.

Betti numbers count pieces and holes, clDice measures lines.

A piece is a set of pixels of one class joined by edges or corners (8-connected), and so a hole is
joined by edges alone (4-connected): with any other pair a diagonal line would both be whole and
let the background through. Pixels without class and pixels outside the patch belong to the
background of every class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import find_root
from hyseg_cli.learn.scores.boundaries import Disc, boundary_f1, boundary_iou, count_boundaries
from hyseg_cli.learn.scores.metrics import Counts, Floats, mean_of_known, ratio
from hyseg_cli.legend import NODATA_ID, ClassIndices


def require_skeletons() -> None:
    """Check before a comparison that lines can be thinned.

    Raises:
        UsageProblemError: If the package for that is not installed.
    """
    if find_spec("skimage") is None:
        raise UsageProblemError(
            "`structure`: the package scikit-image is not installed",
            hint='Install it with pip install "hyseg[structure]".',
        )


def betti_numbers(channels: ClassIndices, classes: int) -> Counts:
    """Pieces and holes of each class.

    The pieces of all classes are counted in one pass over the pixels, which joins each with its
    equals above and to the left. Holes need no second one: pieces minus holes is the Euler
    number, a sum over quads of 2 x 2 pixels.

    Args:
        channels: (height, width), 0..classes-1, 255 without class.
        classes: How many there are.

    Returns:
        int64 (classes, 2): b0, the pieces, and b1, the holes.

    Source: Gray 1971 for the quads.
    """
    pieces = count_pieces(channels, classes)
    fours = sum_quads(np.pad(channels, 1, constant_values=NODATA_ID), classes)
    return np.column_stack([pieces, pieces - fours // 4])


def skeleton_counts(reference: ClassIndices, mapped: ClassIndices, classes: int) -> Counts:
    """The counts that clDice needs from a patch.

    Returns:
        int64 (classes, 4): skeleton pixels of the reference, those that the map covers; skeleton
        pixels of the map, those that the reference covers.
    """
    from skimage.morphology import skeletonize  # an extra, which clDice alone needs

    counts = np.zeros((classes, 4), np.int64)
    # Thinning goes over all pixels many times, so each class is cut out first.
    numbers = [raster.astype(np.int32) + 1 for raster in (reference, mapped)]
    for raster in numbers:
        raster[raster == NODATA_ID + 1] = 0
    boxes = [find_objects(raster, classes) for raster in numbers]
    for channel in range(classes):
        box = _around(boxes[0][channel], boxes[1][channel])
        if box is None:
            continue
        known, found = reference[box] == channel, mapped[box] == channel
        lines = skeletonize(known), skeletonize(found)
        counts[channel] = (
            lines[0].sum(), (lines[0] & found).sum(), lines[1].sum(), (lines[1] & known).sum()
        )  # fmt: skip
    return counts


def cl_dice(counts: Counts) -> Floats:
    """(..., classes): the centre-line Dice; NaN where no raster has the class, 0 where one has.

    Source: Shit et al. 2021.

    Args:
        counts: (..., classes, 4) of `skeleton_counts`.
    """
    known, kept, found, right = (counts[..., i].astype(float) for i in range(4))
    score = ratio(2.0 * kept * right, kept * found + right * known)
    return np.where(known + found > 0, np.nan_to_num(score), np.nan)


_Box = tuple[slice, slice]


def _around(one: _Box | None, other: _Box | None) -> _Box | None:
    """The least rows and columns that hold both boxes."""
    if one is None or other is None:
        return one or other
    rows, cols = (
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, cols


@kernel
def count_pieces(channels: ClassIndices, classes: int) -> Counts:
    """8-connected pieces of each class, (classes,)."""
    height, width = channels.shape
    pieces = np.zeros(classes, np.int64)
    above, labels = np.zeros(width, np.int32), np.zeros(width, np.int32)
    # No two new labels are 8-neighbours, so a quarter of the pixels suffices.
    parents = np.zeros(((height + 1) // 2) * ((width + 1) // 2) + 1, np.int32)
    known = 0
    for row in range(height):
        above, labels = labels, above
        for col in range(width):
            own = channels[row, col]
            if own == NODATA_ID:
                continue
            # An equal pixel above has already met its own neighbours, which are the other three.
            if row > 0 and channels[row - 1, col] == own:
                labels[col] = above[col]
                continue
            left, right = 0, 0  # labels of equals on both sides, 0 for none
            if col > 0 and channels[row, col - 1] == own:
                left = labels[col - 1]
            elif row > 0 and col > 0 and channels[row - 1, col - 1] == own:
                left = above[col - 1]
            if row > 0 and col + 1 < width and channels[row - 1, col + 1] == own:
                right = above[col + 1]
            if left == 0 and right == 0:
                known += 1
                parents[known] = known
                labels[col] = known
                pieces[own] += 1
                continue
            labels[col] = max(left, right)
            if left and right:
                one, other = find_root(parents, left), find_root(parents, right)
                if one != other:
                    parents[max(one, other)] = min(one, other)
                    pieces[own] -= 1
    return pieces


@kernel
def sum_quads(padded: ClassIndices, classes: int) -> Counts:
    """Four times the Euler number of each class, 8-connected, (classes,).

    A quad with one pixel of the class counts 1, with three -1, with two on a diagonal -2.

    Args:
        padded: (height + 2, width + 2) channels with a ring of 255 around them.
        classes: How many there are.
    """
    fours = np.zeros(NODATA_ID + 1, np.int64)
    for row in range(padded.shape[0] - 1):
        for col in range(padded.shape[1] - 1):
            a, b = padded[row, col], padded[row, col + 1]
            c, d = padded[row + 1, col], padded[row + 1, col + 1]
            if a == b == c == d:
                continue
            # Each class of the quad is met at its first pixel.
            fours[a] += quad_share(1 + (b == a) + (c == a) + (d == a), d == a)
            if b != a:
                fours[b] += quad_share(1 + (c == b) + (d == b), c == b)
            if c not in (a, b):
                fours[c] += quad_share(1 + (d == c), False)
            if d not in (a, b, c):
                fours[d] += 1
    return fours[:classes]


@kernel
def quad_share(pixels: int, faces: bool) -> int:  # noqa: FBT001 - compiled
    """What a quad adds: pixels of the class, and whether the one opposite the first is one."""
    if pixels == 1:
        return 1
    if pixels == 3:
        return -1
    return -2 if pixels == 2 and faces else 0


@dataclass(frozen=True)
class StructureCounts:
    """The counts of patches; the first axis is the patch, the second the class."""

    boundary: Counts
    """(patches, classes, 7), see `count_boundaries`."""
    betti: Counts
    """(patches, classes, 4): b0 and b1 of the reference, b0 and b1 of the map."""
    skeleton: Counts
    """(patches, classes, 4), see `skeleton_counts`."""

    @classmethod
    def of_patch(
        cls,
        reference: ClassIndices,
        mapped: ClassIndices,
        inner: tuple[slice, slice],
        disc: Disc,
        classes: int,
    ) -> Self:
        """Count one patch; `count_boundaries` describes the arguments."""
        known, found = (np.ascontiguousarray(raster[inner]) for raster in (reference, mapped))
        betti = np.hstack([betti_numbers(raster, classes) for raster in (known, found)])
        return cls(
            count_boundaries(reference, mapped, inner, disc, classes)[None],
            betti[None],
            skeleton_counts(known, found, classes)[None],
        )

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The patches of all parts, in their order."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("boundary", "betti", "skeleton")
            )
        )

    @property
    def betti_errors(self) -> Floats:
        """(patches, classes, 2): |b0 - b0'| and |b1 - b1'|, NaN where no raster has the class."""
        errors: Floats = np.abs(self.betti[..., :2] - self.betti[..., 2:]).astype(float)
        errors[self.betti[..., 0] + self.betti[..., 2] == 0] = np.nan
        return errors

    @property
    def cl_dice(self) -> Floats:
        """(patches, classes), NaN where no raster has the class."""
        return cl_dice(self.skeleton)


@dataclass(frozen=True)
class PatchMean:
    """A mean over patches and its standard error."""

    mean: Floats
    standard_error: Floats
    """Sample standard deviation over the root of the number of patches; NaN for a single one."""

    @classmethod
    def of(cls, values: Floats) -> PatchMean:
        """Over the first axis, ignoring NaN."""
        count = (~np.isnan(values)).sum(axis=0)
        mean = ratio(np.nansum(values, axis=0), count)
        squares = np.nansum((values - mean) ** 2, axis=0)
        return cls(mean, np.sqrt(ratio(squares, (count - 1) * count)))


@dataclass(frozen=True)
class StructureScores:
    """Scores of shape; per class (classes,), NaN where a class occurs in neither raster."""

    cl_dice: PatchMean
    b0_error: PatchMean
    b1_error: PatchMean
    boundary_iou: Floats
    """Of all patches together."""
    boundary_f1: Floats
    """Of all patches together."""
    pieces_per_mpx: Floats
    """(classes, 2): pieces of the reference and of the map, in a million known pixels."""
    averaged: npt.NDArray[np.bool_]
    """The classes that the means count if they occur."""
    mean_cl_dice: PatchMean
    """Of the means over the classes that occur in a patch."""
    mean_b0_error: PatchMean
    mean_b1_error: PatchMean
    patches: int
    patch_px: float
    """Side of a square with the mean area of the patches."""
    disc: Disc
    """Width of the boundary band and tolerance of contours."""

    @classmethod
    def of(
        cls,
        counts: StructureCounts,
        known_pixels: int,
        averaged: npt.NDArray[np.bool_],
        *,
        patch_px: float,
        disc: Disc,
    ) -> StructureScores:
        """The scores of some patches."""
        errors, lines = counts.betti_errors, counts.cl_dice
        together = counts.boundary.sum(axis=0)
        pieces = counts.betti[..., ::2].sum(axis=0)
        return cls(
            cl_dice=PatchMean.of(lines),
            b0_error=PatchMean.of(errors[..., 0]),
            b1_error=PatchMean.of(errors[..., 1]),
            boundary_iou=boundary_iou(together),
            boundary_f1=boundary_f1(together),
            pieces_per_mpx=ratio(pieces * 1e6, known_pixels),
            averaged=averaged,
            mean_cl_dice=PatchMean.of(mean_of_known(lines, averaged)),
            mean_b0_error=PatchMean.of(mean_of_known(errors[..., 0], averaged)),
            mean_b1_error=PatchMean.of(mean_of_known(errors[..., 1], averaged)),
            patches=len(counts.betti),
            patch_px=patch_px,
            disc=disc,
        )

    @property
    def mean_boundary_iou(self) -> float:
        """Mean over the classes that occur and are averaged; NaN if there are none."""
        return float(mean_of_known(self.boundary_iou, self.averaged))

    @property
    def mean_boundary_f1(self) -> float:
        """Mean over the classes that occur and are averaged; NaN if there are none."""
        return float(mean_of_known(self.boundary_f1, self.averaged))
