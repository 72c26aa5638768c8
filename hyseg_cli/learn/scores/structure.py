"""How like its reference a map is in form: lines, pieces, holes and contours of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.scores.boundaries import Disc, boundary_f1, boundary_iou, count_boundaries
from hyseg_cli.learn.scores.metrics import Counts, Floats, mean_of_known, ratio
from hyseg_cli.learn.scores.topology import betti_numbers, cl_dice, skeleton_counts

Channels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StructureCounts:
    """What was counted in patches; the first axis is the patch, the second the class."""

    boundary: Counts
    """(patches, classes, 7), see `count_boundaries`."""
    betti: Counts
    """(patches, classes, 4): b0 and b1 of the reference, b0 and b1 of the map."""
    skeleton: Counts
    """(patches, classes, 4), see `skeleton_counts`."""

    @classmethod
    def of_patch(
        cls,
        reference: Channels,
        mapped: Channels,
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
    """A mean over patches and how sure it is."""

    mean: Floats
    standard_error: Floats
    """Sample standard deviation over the root of the number of patches; NaN for a single one."""

    @classmethod
    def of(cls, values: Floats) -> PatchMean:
        """Over the first axis of what is not NaN."""
        count = (~np.isnan(values)).sum(axis=0)
        mean = ratio(np.nansum(values, axis=0), count)
        squares = np.nansum((values - mean) ** 2, axis=0)
        return cls(mean, np.sqrt(ratio(squares, (count - 1) * count)))


@dataclass(frozen=True)
class StructureScores:
    """Scores of form; per class (classes,), NaN where a class occurs in neither raster."""

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
    """Side of a square as large as the patches are on average."""
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
