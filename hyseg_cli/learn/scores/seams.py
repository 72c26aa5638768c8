"""Do the tiles of a map show? Classes should change across tile lines as often as elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.geo.tiling.blend import blend_weights
from hyseg_cli.geo.tiling.grid import Span, TileGrid
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.scores.bootstrap import Interval, interval_of, resample_sums
from hyseg_cli.learn.scores.metrics import Counts, Floats, ratio
from hyseg_cli.legend import NODATA_ID

TILES_TAG = "HYSEG_TILES"
"""TIFF tag of a map that records its tiles, as JSON."""


def describe_tiles(grid: TileGrid, window: Window) -> str:
    """The tag of a map that is a window of a scene with these tiles."""
    return json.dumps({"rows": asdict(grid.rows), "cols": asdict(grid.cols), **asdict(window)})


def tile_lines_of(scene: Raster) -> TileLines | None:
    """Where tiles meet in a map of hyseg; None for other maps.

    Programs that cut, join or resample maps copy the tag, but it is valid only for the first map.

    Raises:
        HysegError: If the tag cannot be read.
    """
    text = scene.tags.get(TILES_TAG)
    if text is None:
        return None
    try:
        values = json.loads(text)
        whole = TileLines.of(TileGrid(Span(**values["rows"]), Span(**values["cols"])))
        window = Window(*(int(values[name]) for name in ("row", "col", "height", "width")))
        lines = whole.within(window)
    except (KeyError, TypeError, ValueError) as error:
        raise HysegError(
            f"{scene.path}: its tag {TILES_TAG} is damaged ({text!r})",
            hint="Remove the tag with `gdal_edit.py -unsetmd`, or map the scene again.",
        ) from error
    return lines if len(lines.rows) == scene.height and len(lines.cols) == scene.width else None


@dataclass(frozen=True)
class TileLines:
    """Where tiles of a map begin to count, take over, and end."""

    rows: npt.NDArray[np.bool_]
    """(height,), True where a line runs above the row."""
    cols: npt.NDArray[np.bool_]
    """(width,), True where a line runs left of the column."""

    @classmethod
    def of(cls, grid: TileGrid) -> TileLines:
        """The lines of a grid of tiles."""
        return cls(_lines_of(grid.rows), _lines_of(grid.cols))

    def within(self, window: Window) -> TileLines:
        """The lines of a part of the map.

        Raises:
            ValueError: If it reaches beyond the map.
        """
        if window.row_stop > len(self.rows) or window.col_stop > len(self.cols):
            message = f"{window} is not within {len(self.rows)} x {len(self.cols)} pixels"
            raise ValueError(message)
        return TileLines(
            self.rows[window.row : window.row_stop], self.cols[window.col : window.col_stop]
        )


def _lines_of(span: Span) -> npt.NDArray[np.bool_]:
    """Along one axis: where a tile's weight leaves zero, passes a half, and reaches one."""
    found = np.zeros(span.size, np.bool_)
    for start, weights in zip(span.starts[1:], blend_weights(span)[1:], strict=True):
        for level in (weights > 0, weights >= 0.5, weights >= 1):
            position = start + int(np.argmax(level))
            if 0 < position < span.size:
                found[position] = True
    return found


def count_changes(
    channels: npt.NDArray[np.uint8], inner: tuple[slice, slice], place: Window, lines: TileLines
) -> Counts:
    """Changes of class between pixels that share an edge.

    Args:
        channels: (height, width) of a window, 255 without class.
        inner: The part to count: each pixel against its left and its upper neighbour, as far as
            the window has them.
        place: Where the inner part lies in the map.
        lines: The tile lines of the map.

    Returns:
        int64 (4,): changes across lines, pairs across lines, changes elsewhere, pairs elsewhere.
    """
    counts = np.zeros(4, np.int64)
    for axis, at_line in ((0, lines.rows), (1, lines.cols)):
        turned = channels if axis == 0 else channels.T
        along, across = inner if axis == 0 else inner[::-1]
        first = max(along.start, 1)
        before, after = (
            turned[first - 1 : along.stop - 1, across],
            turned[first : along.stop, across],
        )
        known = (before != NODATA_ID) & (after != NODATA_ID)
        changed = (known & (before != after)).sum(axis=1)
        pairs = known.sum(axis=1)
        start = (place.row, place.col)[axis] + first - along.start
        is_line = at_line[start : start + len(pairs)]
        counts += (
            changed[is_line].sum(), pairs[is_line].sum(),
            changed[~is_line].sum(), pairs[~is_line].sum(),
        )  # fmt: skip
    return counts


@dataclass(frozen=True)
class SeamScores:
    """How often the class changes from pixel to pixel."""

    at_lines: float
    """Share of the pairs of pixels across a tile line."""
    elsewhere: float
    """Share of all other pairs."""
    ratio: float
    """The first over the second: 1 where no seams show."""
    interval: Interval
    """Of the ratio, by a bootstrap over blocks."""
    pairs: int
    """Pairs of pixels across tile lines."""

    @classmethod
    def of(cls, blocks: Counts) -> SeamScores | None:
        """The scores of counts (blocks, 4), see `count_changes`; None if no line was met."""
        if blocks[:, 1].sum() == 0:
            return None
        at_lines, elsewhere = _rates(blocks.sum(axis=0).astype(float))
        draws = resample_sums(blocks.astype(float))
        return cls(
            at_lines=float(at_lines),
            elsewhere=float(elsewhere),
            ratio=float(ratio(at_lines, elsewhere)),
            interval=interval_of(ratio(*_rates(draws))),
            pairs=int(blocks[:, 1].sum()),
        )


def _rates(sums: Floats) -> tuple[Floats, Floats]:
    return ratio(sums[..., 0], sums[..., 1]), ratio(sums[..., 2], sums[..., 3])
