"""Class rasters as pictures inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyseg_cli.legend import NODATA_ID, ClassIndices, Color

RAMP: tuple[Color, ...] = (
    (52, 12, 84),
    (62, 74, 137),
    (38, 130, 142),
    (83, 186, 110),
    (250, 230, 60),
)
"""Colours from the lowest to the highest probability; the gradient in `page.css` is the same."""
NAMED_IN_ALT = 4
"""Classes that the description of a picture names."""


@dataclass(frozen=True)
class Layer:
    """One picture of a place, to be laid over others of the same size."""

    title: str
    alt: str
    """Its alternative text."""
    uri: str
    """PNG or JPEG as a data URI; pixels without class are transparent."""
    height: int
    width: int


@dataclass(frozen=True)
class Palette:
    """Names and colours of the values of a raster."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]


def draw_layer(title: str, channels: ClassIndices, palette: Palette) -> Layer:
    """Draw channels (height, width), 255 where there is nothing to show."""
    height, width = channels.shape
    return Layer(
        title, _describe(title, channels, palette), _png(channels, palette.colors), height, width
    )


def draw_photo(title: str, colors: npt.NDArray[np.uint8]) -> Layer:
    """Show an image (height, width, 3) in red, green and blue."""
    height, width = colors.shape[:2]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colors)).save(file, "JPEG", quality=80)
    return Layer(title, f"{title} that was mapped", embed("jpeg", file), height, width)


def draw_quantised(title: str, quantised: npt.NDArray[np.uint8]) -> Layer:
    """Show quantised probabilities (height, width): dark is low."""
    height, width = quantised.shape
    known = quantised[quantised != NODATA_ID]
    mean = f"{100 * known.mean() / (NODATA_ID - 1):.0f} % on average" if known.size else "nothing"
    return Layer(title, f"{title}: {mean}", _png(quantised, ramp_colors()), height, width)


def ramp_colors() -> list[Color]:
    """A colour for each value, evenly lighter from dark violet to yellow."""
    places = np.linspace(0, NODATA_ID - 1, len(RAMP))
    parts = [
        np.interp(np.arange(NODATA_ID), places, [color[part] for color in RAMP]).round()
        for part in range(3)
    ]
    return [(int(red), int(green), int(blue)) for red, green, blue in zip(*parts, strict=True)]


def embed(kind: str, file: io.BytesIO) -> str:
    """A picture as a data URI; `kind` is `png` or `jpeg`."""
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _png(channels: ClassIndices, colors: Sequence[Color]) -> str:
    picture = Image.fromarray(np.ascontiguousarray(channels))
    # All 256 entries, because Pillow renumbers the colours of a shorter palette and loses 255.
    palette = np.zeros((NODATA_ID + 1, 3), np.uint8)
    palette[: len(colors)] = colors
    picture.putpalette(palette.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=9, transparency=NODATA_ID)
    return embed("png", file)


def _describe(title: str, channels: ClassIndices, palette: Palette) -> str:
    counts = np.bincount(channels.ravel(), minlength=NODATA_ID + 1)[: len(palette.names)]
    total = counts.sum()
    if total == 0:
        return f"{title}: nothing"
    order = np.argsort(-counts, kind="stable")[:NAMED_IN_ALT]
    shares = [f"{palette.names[i]} {100 * counts[i] / total:.0f} %" for i in order if counts[i]]
    more = ", and others" if np.count_nonzero(counts) > NAMED_IN_ALT else ""
    return f"{title}: {', '.join(shares)}{more}"
