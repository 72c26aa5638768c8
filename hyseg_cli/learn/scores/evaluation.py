"""Evaluation: how well one map agrees with its reference.

A raster is cut into patches, each read with a rim around it, and counted patch by patch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.scores.boundaries import Disc
from hyseg_cli.learn.scores.metrics import Counts, Scores, count_pairs
from hyseg_cli.learn.scores.seams import SeamScores, TileLines, count_changes
from hyseg_cli.learn.scores.structure import StructureCounts, StructureScores
from hyseg_cli.legend import NODATA_ID, ClassIndices, Legend


@dataclass(frozen=True)
class Patch:
    """A part of a raster that is counted by itself."""

    window: Window
    """The pixels to count."""
    read: Window
    """The same with the rim, as far as the raster goes."""

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of `window` in an array of `read`."""
        row, col = self.window.row - self.read.row, self.window.col - self.read.col
        return slice(row, row + self.window.height), slice(col, col + self.window.width)


@dataclass(frozen=True)
class PatchGrid:
    """Patches of nearly equal size, so that no sliver at an edge counts like a whole patch."""

    rows: tuple[int, ...]
    """First row of each, then the height of the raster."""
    cols: tuple[int, ...]
    rim: int
    """Pixels read around each."""

    @classmethod
    def cover(cls, height: int, width: int, *, side: int, rim: int) -> PatchGrid:
        """Patches whose sides are as near to `side` as an even division allows."""
        return cls(_cuts(height, side), _cuts(width, side), rim)

    def __iter__(self) -> Iterator[Patch]:
        height, width = self.rows[-1], self.cols[-1]
        for row, row_stop in zip(self.rows, self.rows[1:], strict=False):
            for col, col_stop in zip(self.cols, self.cols[1:], strict=False):
                top, left = max(0, row - self.rim), max(0, col - self.rim)
                bottom, right = min(height, row_stop + self.rim), min(width, col_stop + self.rim)
                yield Patch(
                    Window(row, col, row_stop - row, col_stop - col),
                    Window(top, left, bottom - top, right - left),
                )

    def __len__(self) -> int:
        return (len(self.rows) - 1) * (len(self.cols) - 1)


def _cuts(size: int, side: int) -> tuple[int, ...]:
    count = max(1, round(size / side))
    return tuple(size * index // count for index in range(count + 1))


_Part = TypeVar("_Part")


@dataclass(frozen=True)
class PatchCount:
    """The counts of one patch."""

    place: tuple[int, int, int, int, int]
    """Number of the scene, first row, first column, height, width."""
    confusion: Counts
    """(classes, classes), rows being the reference."""
    structure: StructureCounts | None
    seams: Counts | None
    """(4,), see `count_changes`."""


@dataclass(frozen=True)
class PatchTable:
    """The counts of all patches that have known pixels, ordered by location."""

    places: Counts
    """(patches, 5): number of the scene, first row, first column, height, width."""
    margins: Counts
    """(patches, classes, 3): pixels of the reference and of the map, and those they agree on."""
    structure: StructureCounts | None
    seams: Counts | None
    """(patches, 4), see `count_changes`."""


def count_patch(
    patch: Patch,
    reference: ClassIndices,
    mapped: ClassIndices,
    classes: int,
    *,
    disc: Disc | None = None,
    lines: TileLines | None = None,
    scene: int = 0,
) -> PatchCount:
    """Count a patch of a map against its reference.

    Args:
        patch: The patch.
        reference: Class indices of `patch.read`, 255 where unknown.
        mapped: The same of the map.
        classes: How many there are.
        disc: Width of boundaries; None to leave structure out.
        lines: Tile lines of the map; None to leave seams out.
        scene: Number of the scene that it is a patch of.
    """
    inner, window = patch.inner, patch.window
    structure = None
    if disc is not None:
        unknown = (reference == NODATA_ID) | (mapped == NODATA_ID)
        known, found = reference.copy(), mapped.copy()
        known[unknown] = found[unknown] = NODATA_ID
        structure = StructureCounts.of_patch(known, found, inner, disc, classes)
    return PatchCount(
        (scene, window.row, window.col, window.height, window.width),
        count_pairs(reference[inner], mapped[inner], classes),
        structure,
        None if lines is None else count_changes(mapped, inner, window, lines),
    )


class PatchCounts:
    """Adds up the counts of patches, in any order; mutable."""

    def __init__(self, classes: int) -> None:
        self.confusion: Counts = np.zeros((classes, classes), np.int64)
        self._places: list[tuple[int, ...]] = []
        self._margins: list[Counts] = []
        self._structure: list[StructureCounts] = []
        self._seams: list[Counts] = []

    def add(self, count: PatchCount) -> None:
        """Add a patch; one without known pixels is left out."""
        if not count.confusion.any():
            return
        self.confusion += count.confusion
        self._places.append(count.place)
        # The matrices of many classes and patches would be large; their margins are not.
        self._margins.append(_margins(count.confusion))
        if count.structure is not None:
            self._structure.append(count.structure)
        if count.seams is not None:
            self._seams.append(count.seams)

    def table(self) -> PatchTable:
        """All patches, by scene and place.

        Raises:
            ValueError: If nothing was counted, or structure or seams only of some patches.
        """
        order = sorted(range(len(self._places)), key=self._places.__getitem__)
        structure, seams = _in_order(self._structure, order), _in_order(self._seams, order)
        return PatchTable(
            places=np.array([self._places[i] for i in order]),
            margins=np.stack([self._margins[i] for i in order]),
            structure=StructureCounts.stack(structure) if structure else None,
            seams=np.stack(seams) if seams else None,
        )


def _in_order(parts: list[_Part], order: list[int]) -> list[_Part]:
    if parts and len(parts) != len(order):
        message = f"{len(parts)} of {len(order)} patches were counted in full"
        raise ValueError(message)
    return [parts[i] for i in order] if parts else []


def _margins(confusion: Counts) -> Counts:
    """(classes, 3): pixels of the reference and of the map, and those they agree on."""
    return np.stack([confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)], axis=1)


@dataclass(frozen=True)
class Protocol:
    """How maps are measured."""

    patch_px: int
    """Approximate side of the patches for counting structure and for the bootstrap."""
    disc: Disc | None = None
    """Width of boundaries; None to leave structure out."""
    excluded: tuple[int, ...] = ()
    """Class indices that the means leave out."""


@dataclass(frozen=True)
class Unmatched:
    """Pixels of the reference whose class no map has; they are not compared."""

    pixels: int = 0
    names: tuple[str, ...] = ()
    """Their classes, or values and colours where these have no name."""

    def joined(self, other: Unmatched) -> Unmatched:
        """Those of two references together."""
        return Unmatched(self.pixels + other.pixels, tuple(sorted({*self.names, *other.names})))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well one map, or the maps of one model, agree with their reference."""

    name: str
    """The map or the model."""
    reference: str
    legend: Legend
    """The classes compared."""
    protocol: Protocol
    confusion: Counts
    """(classes, classes): pixels by class of the reference (rows) and of the map."""
    agreement: Scores
    structure: StructureScores | None
    """None if it was not asked for."""
    seams: SeamScores | None
    """None if the map does not record its tiles, or has only one."""
    overlap_disagreement: float | None
    """Share of the pixels in overlaps on which neighbouring tiles differ; None for maps."""
    unmatched: Unmatched
    scenes: tuple[str, ...]
    """The map, or the images of a model, that the patches are numbered by."""
    patches: PatchTable

    @classmethod
    def of(
        cls,
        counts: PatchCounts,
        legend: Legend,
        protocol: Protocol,
        *,
        name: str,
        reference: str,
        unmatched: Unmatched,
        scenes: tuple[str, ...],
        overlap_disagreement: float | None = None,
    ) -> Evaluation:
        """The scores of the counts.

        Raises:
            HysegError: If no pixel has a class in both.
        """
        if not counts.confusion.any():
            outside = ""
            if unmatched.pixels:
                outside = (
                    f"; {unmatched.pixels:,} pixels of the reference are of classes that the map "
                    f"does not have ({', '.join(unmatched.names[:5])})"
                )
            raise HysegError(
                f"{name} and {reference} have no labelled pixel in common{outside}",
                hint="Check that they cover the same place and that their classes match.",
            )
        agreement, table = Scores.of(counts.confusion, protocol.excluded), counts.table()
        structure = None
        if table.structure is not None and protocol.disc is not None:
            structure = StructureScores.of(
                table.structure,
                agreement.pixels,
                agreement.averaged,
                patch_px=math.sqrt(table.places[:, 3:].prod(axis=1).mean()),
                disc=protocol.disc,
            )
        return cls(
            name=name,
            reference=reference,
            legend=legend,
            protocol=protocol,
            confusion=counts.confusion,
            agreement=agreement,
            structure=structure,
            seams=None if table.seams is None else SeamScores.of(table.seams),
            overlap_disagreement=overlap_disagreement,
            unmatched=unmatched,
            scenes=scenes,
            patches=table,
        )

    def overall(self) -> dict[str, float]:
        """Each score of the whole map by its name; NaN where it does not exist."""
        scores = self.agreement
        found = {
            "miou": scores.mean_iou,
            "mf1": scores.mean_f1,
            "overall_accuracy": scores.overall_accuracy,
            "fwiou": scores.frequency_weighted_iou,
            "quantity_disagreement": scores.quantity_disagreement,
            "allocation_disagreement": scores.allocation_disagreement,
            "kappa": scores.kappa,
        }
        if (form := self.structure) is not None:
            found |= {
                "cldice": float(form.mean_cl_dice.mean),
                "b0_error": float(form.mean_b0_error.mean),
                "b1_error": float(form.mean_b1_error.mean),
                "boundary_iou": form.mean_boundary_iou,
                "boundary_f1": form.mean_boundary_f1,
                "pieces_per_mpx": float(form.pieces_per_mpx[:, 1].sum()),
                "reference_pieces_per_mpx": float(form.pieces_per_mpx[:, 0].sum()),
            }
        if self.seams is not None:
            found["seam_ratio"] = self.seams.ratio
        if self.overlap_disagreement is not None:
            found["overlap_disagreement"] = self.overlap_disagreement
        return found

    def by_class(self) -> dict[str, dict[str, float]]:
        """Each score of each class, by the name of the class and its own."""
        scores, form = self.agreement, self.structure
        columns = {
            "iou": scores.iou,
            "f1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
        }
        if form is not None:
            columns |= {
                "cldice": form.cl_dice.mean,
                "b0_error": form.b0_error.mean,
                "b1_error": form.b1_error.mean,
                "boundary_iou": form.boundary_iou,
                "boundary_f1": form.boundary_f1,
                "pieces_per_mpx": form.pieces_per_mpx[:, 1],
                "reference_pieces_per_mpx": form.pieces_per_mpx[:, 0],
            }
        return {
            name: {column: float(values[channel]) for column, values in columns.items()}
            for channel, name in enumerate(self.legend.names)
        }
