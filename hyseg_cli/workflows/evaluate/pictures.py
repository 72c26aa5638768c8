"""Pictures of the compared rasters, collected patch by patch and never larger than a screen."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.scores.evaluation import Patch
from hyseg_cli.legend import NODATA_ID, ClassIndices

Colors = npt.NDArray[np.uint8]

PICTURE_SIDE = 1600
"""Pixels of the longer side of a picture at most."""
CUTOUT_SIDE = 768
"""The same of a cut-out; patches of the usual size are kept whole."""
MOST_PICTURES = 4
"""Scenes that a picture is kept of, the first ones."""
MOST_PLACES = 6
"""Worst places kept, of all scenes together."""

RIGHT, WRONG = 0, 1


@dataclass(frozen=True)
class Picture:
    """A part of a scene as the reference and the maps have it."""

    name: str
    """The scene."""
    scene: Raster | None
    """Where it lies; None if it has no place."""
    window: Window
    """The part, in pixels of the scene."""
    step: int
    """Every n-th row and column was kept."""
    reference: ClassIndices
    """(height, width), channels of the legend compared in, 255 where unknown."""
    maps: tuple[ClassIndices, ...]
    """The same of each map."""
    photo: Colors | None = None
    """(height, width, 3): the image that was mapped, in red, green and blue."""

    def errors(self, index: int) -> ClassIndices:
        """Where a map is right (0) and wrong (1), 255 where it or the reference is unknown."""
        found = self.maps[index]
        wrong = np.where(found == self.reference, RIGHT, WRONG)
        unknown = (found == NODATA_ID) | (self.reference == NODATA_ID)
        return np.where(unknown, NODATA_ID, wrong).astype(np.uint8)


@dataclass(frozen=True)
class WorstPlace:
    """A patch where map and reference often disagree."""

    picture: Picture
    known: int
    """Pixels of the patch that were compared."""
    wrong: tuple[int, ...]
    """Those of them that each map has wrong."""


@dataclass
class Gallery:
    """Keeps decimated pictures of scenes, and the patches with the most wrong pixels; mutable.

    Decimation takes the first of every `step` rows and columns: classes do not average.
    Places are ranked by their wrong pixels, summed over the maps. Where the reference covers
    all, these are the patches of the lowest agreement; where it does not, a patch with three
    known pixels is not among them. The memory does not grow with the scenes.
    """

    side: int = PICTURE_SIDE
    most_pictures: int = MOST_PICTURES
    most_places: int = MOST_PLACES
    scenes: int = field(default=0, init=False)
    """Scenes begun."""
    pictures: list[Picture] = field(default_factory=list, init=False)
    _current: Picture | None = field(default=None, init=False)
    _places: list[tuple[int, int, WorstPlace]] = field(default_factory=list, init=False)
    _order: count[int] = field(default_factory=count, init=False)

    def begin(
        self,
        name: str,
        height: int,
        width: int,
        *,
        maps: int = 1,
        scene: Raster | None = None,
        has_photo: bool = False,
    ) -> None:
        """Start the next scene; all patches added from now on belong to it."""
        window, step = Window(0, 0, height, width), -(-max(height, width) // self.side)
        shape = (-(-height // step), -(-width // step))
        layers = [np.full(shape, NODATA_ID, np.uint8) for _ in range(maps + 1)]
        photo = np.zeros((*shape, 3), np.uint8) if has_photo else None
        self._current = Picture(name, scene, window, step, layers[0], tuple(layers[1:]), photo)
        self.scenes += 1
        if len(self.pictures) < self.most_pictures:
            self.pictures.append(self._current)

    def add(
        self,
        patch: Patch,
        reference: ClassIndices,
        mapped: Sequence[ClassIndices],
        photo: Colors | None = None,
    ) -> None:
        """Add a patch to the pictures.

        Args:
            patch: The patch.
            reference: Class indices of `patch.read`, 255 where unknown.
            mapped: The same of each map.
            photo: (height, width, 3) colours of `patch.read`, if the scene has a photo.
        """
        scene = self._current
        if scene is None:
            message = "a patch was added before its scene"
            raise ValueError(message)
        if self.pictures[-1] is scene:
            for canvas, layer in zip(
                (scene.reference, *scene.maps), (reference, *mapped), strict=True
            ):
                _draw(canvas, layer[patch.inner], patch.window, scene.step)
            if scene.photo is not None and photo is not None:
                _draw(scene.photo, photo[patch.inner], patch.window, scene.step)
        self._rank(scene, patch, reference, mapped, photo)

    def worst(self) -> tuple[WorstPlace, ...]:
        """The places with the most wrong pixels, the worst first."""
        return tuple(place for *_, place in sorted(self._places, key=lambda p: p[:2], reverse=True))

    def _rank(
        self,
        scene: Picture,
        patch: Patch,
        reference: ClassIndices,
        mapped: Sequence[ClassIndices],
        photo: Colors | None,
    ) -> None:
        truth, *found = (layer[patch.inner] for layer in (reference, *mapped))
        is_known = np.logical_and.reduce([layer != NODATA_ID for layer in (truth, *found)])
        wrong = tuple(int(np.count_nonzero(is_known & (layer != truth))) for layer in found)
        rank = (sum(wrong), -next(self._order))  # of equals, the first one
        is_full = len(self._places) == self.most_places
        if rank[0] == 0 or (is_full and rank < self._places[0][:2]):
            return
        window = patch.window
        step = -(-max(window.height, window.width) // CUTOUT_SIDE)
        truth, *found = (layer[::step, ::step].copy() for layer in (truth, *found))
        seen = None if photo is None else photo[patch.inner][::step, ::step].copy()
        picture = Picture(scene.name, scene.scene, window, step, truth, tuple(found), seen)
        place = (*rank, WorstPlace(picture, int(np.count_nonzero(is_known)), wrong))
        if is_full:
            heapq.heapreplace(self._places, place)
        else:
            heapq.heappush(self._places, place)


def _draw(canvas: ClassIndices, layer: ClassIndices, window: Window, step: int) -> None:
    """Put the pixels of a window into a picture that keeps every `step`-th."""
    rows, from_rows = _kept(window.row, window.row_stop, step)
    cols, from_cols = _kept(window.col, window.col_stop, step)
    canvas[rows, cols] = layer[from_rows, from_cols]


def _kept(start: int, stop: int, step: int) -> tuple[slice, slice]:
    """Those of the pixels start..stop that a picture keeps: where in it, and where in them."""
    first, last = (-(-edge // step) for edge in (start, stop))
    return slice(first, last), slice(first * step - start, None, step)
