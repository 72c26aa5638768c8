"""What is counted of a map against its reference, patch by patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hyseg_cli.learn.scores.boundaries import Disc
from hyseg_cli.learn.scores.metrics import Counts, count_pairs
from hyseg_cli.learn.scores.patches import Patch
from hyseg_cli.learn.scores.seams import TileLines, count_changes
from hyseg_cli.learn.scores.structure import StructureCounts
from hyseg_cli.legend import NODATA_ID

Channels = npt.NDArray[np.uint8]
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class PatchCount:
    """What was counted in one patch."""

    place: tuple[int, int, int, int, int]
    """Number of the scene, first row, first column, height, width."""
    confusion: Counts
    """(classes, classes), rows being the reference."""
    structure: StructureCounts | None
    seams: Counts | None
    """(4,), see `count_changes`."""


@dataclass(frozen=True)
class PatchTable:
    """What was counted in all patches that have known pixels, in the order of their places."""

    places: Counts
    """(patches, 5): number of the scene, first row, first column, height, width."""
    margins: Counts
    """(patches, classes, 3): pixels of the reference and of the map, and those they agree on."""
    structure: StructureCounts | None
    seams: Counts | None
    """(patches, 4), see `count_changes`."""


def count_patch(
    patch: Patch,
    reference: Channels,
    mapped: Channels,
    classes: int,
    *,
    disc: Disc | None = None,
    lines: TileLines | None = None,
    scene: int = 0,
) -> PatchCount:
    """Count a patch of a map against its reference.

    Args:
        patch: Which.
        reference: Channels of `patch.read`, 255 where unknown.
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


class Tally:
    """Adds up patches, which may come in any order; mutable."""

    def __init__(self, classes: int) -> None:
        self.confusion: Counts = np.zeros((classes, classes), np.int64)
        self._places: list[tuple[int, ...]] = []
        self._margins: list[Counts] = []
        self._structure: list[StructureCounts] = []
        self._seams: list[Counts] = []

    def add(self, count: PatchCount) -> None:
        """Take a patch in; one without known pixels tells nothing and is left out."""
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
            ValueError: If nothing was counted, or structure or seams of some patches alone.
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
