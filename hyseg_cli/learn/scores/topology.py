"""Whether a map has the pieces, holes and lines of its reference: Betti numbers and clDice.

A piece is a set of pixels of one class joined by edges or corners (8-connected), and so a hole is
joined by edges alone (4-connected): with any other pair a diagonal line would both be whole and
let the background through. Pixels without class belong to the background of every class, and so
does all that lies outside the patch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects
from skimage.morphology import skeletonize

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import find_root
from hyseg_cli.learn.scores.metrics import Counts, Floats, ratio
from hyseg_cli.legend import NODATA_ID

Channels = npt.NDArray[np.uint8]


def betti_numbers(channels: Channels, classes: int) -> Counts:
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


def skeleton_counts(reference: Channels, mapped: Channels, classes: int) -> Counts:
    """What clDice needs of a patch.

    Returns:
        int64 (classes, 4): skeleton pixels of the reference, those that the map covers; skeleton
        pixels of the map, those that the reference covers.
    """
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
def count_pieces(channels: Channels, classes: int) -> Counts:
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
            # An equal above has met its own neighbours already, which are the three others.
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
def sum_quads(padded: Channels, classes: int) -> Counts:
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
